// Package client is for controllers, and whoever else has work for a node: it submits
// units, reads what they write while they write it, watches, cancels and releases
// them, over control conversations in our own form (docs/work.md).
//
//	c := client.Client{Dial: client.DialUnix("/run/receptor/alpha/control.sock")}
//	unit, err := c.Submit(ctx, client.Job{Node: "gamma", Type: "echo", Payload: file})
//	var end client.Status
//	for r, err := range c.Responses(ctx, unit.ID, client.From{}, &end) {
//		if err != nil {
//			return err
//		}
//		fmt.Printf("%s\n", r.Line)
//	}
//	fmt.Println(end.State, end.Detail)
//	_, err = c.Release(ctx, unit.ID, false)
//
// The connection may come from anywhere: a Unix socket, TCP with TLS, or the mesh.
// When one is cut, the call goes on over another: a submission is the same unit
// however often it is sent, results go on at the byte where they were cut, and a
// watcher at the change. So a call returns what it was called for, or an error that
// another try would not mend, or ctx is done, or Patience is at its end.
//
// A unit belongs to the node, not to whoever submitted it: it goes on when the client
// ends, until somebody cancels it, and is kept until somebody releases it. Who is to
// find it again after a crash of the client itself chooses the Submission of the job.
//
// example/controller is a whole program.
//
// What was read of a unit's results is checked against the sizes and the SHA-256
// digests that the node has of them: it is whole, or there is an error.
package client
