// Package workfunc makes a worker of a Go function: each unit of work is a call of it.
//
//	return workfunc.Serve(ctx, item, dir, plug.WorkType{Name: "echo"}, func(ctx context.Context, u *workfunc.Unit) error {
//		_, err := io.Copy(u, u.Stdin)
//		return err
//	})
//
// Units live and end with the process: what runs when it dies is lost, and says so.
// That none is run twice, whatever dies when, is what the directory is for: a file
// for each unit, on the disk before the function is called, and there until the core
// releases the unit.
package workfunc
