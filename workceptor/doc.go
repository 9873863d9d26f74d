// Package workceptor is units of work on a node: it takes them, keeps them, has
// workers run them, and gives out what they say.
//
//	work, err := workceptor.New(workceptor.Config{Dir: "/var/lib/receptor/alpha", NodeID: "alpha"})
//	err = work.Start()
//	defer work.Close()
//
//	s, err := work.Submit(workceptor.Request{Type: "echo"})
//	_, err = io.Copy(s, payload)
//	unit, err := s.Commit(ctx)
//	end, err := work.Results(ctx, unit.ID, workceptor.From{}, func(c workceptor.Chunk) error { ... })
//
// It runs nothing itself: a Worker does, which attaches and may come and go while
// its units go on. What it promises:
//
//   - A unit that was acknowledged is there after any crash, and was not run twice.
//   - The same submission is the same unit, however often it is sent.
//   - A unit ends once, and what is said of it then is on the disk: state, exit, and
//     size and digest of its output. What its worker no longer knows is Lost.
//   - A cancel that was asked for ends the unit, whenever its worker can be told.
//
// The package knows no mesh and no plugs: who embeds it joins them (see Command for
// the control conversation, Worker for those who run units).
package workceptor
