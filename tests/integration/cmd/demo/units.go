package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// countItem is the type of work of gamma, workItems are those of alpha.
var (
	countItem = []string{
		"--work-command", "worktype=count", "command=sh", `params=-c "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.2; done"`,
	}
	workItems = append([]string{
		"--work-command", "worktype=shout", "command=tr", "params=a-z A-Z",
		"--work-command", "worktype=sleep", "command=sleep", "params=1000",
	}, countItem...)
)

// units runs units of work at alpha: one, one that is followed while the core is
// killed, a few that are canceled; and one at gamma, two links away, which is followed
// while all of gamma is killed and started again.
func (d *demo) units(ctx context.Context) (err error) {
	// Units outlive all programs of the node: they are not left behind.
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			for _, node := range []string{"alpha", "gamma"} {
				_, rerr := d.lab.Ctl(ctx, node, "work", "release", "--all")
				err = errors.Join(err, rerr)
			}
		}
	}()
	err = d.lab.WaitStatus(ctx, "alpha", func(s *lab.Status) bool { return s.Item("work-command worktype=sleep").State == "up" })
	if err != nil {
		return err
	}
	d.step("alpha takes units of work: each runs as a process of its own, under a supervisor, not in the core")
	start := time.Now()
	out, err := d.ctl(ctx, "work", "submit", "shout", "--payload-literal", "hello from a unit of work", "--follow", "--rm")
	if err != nil {
		return err
	}
	d.step("its result after %.0f ms: %s", time.Since(start).Seconds()*1e3, strings.Split(out, "\n")[0])
	if err := d.follow(ctx, func() error { return d.killCore("alpha") }); err != nil {
		return err
	}
	if err := d.cancel(ctx); err != nil {
		return err
	}
	return d.far(ctx)
}

// far has gamma run a unit that is submitted and followed at alpha.
func (d *demo) far(ctx context.Context) error {
	err := d.lab.WaitStatus(ctx, "gamma", func(s *lab.Status) bool { return s.Item("work-command worktype=count").State == "up" })
	if err != nil {
		return err
	}
	d.step("gamma takes units of work, too; what it is given at alpha comes and goes through beta")
	if err := d.follow(ctx, func() error { return d.killNode(ctx, "gamma") }, "--node", "gamma"); err != nil {
		return err
	}
	if _, err := d.ctl(ctx, "work", "release", "--all"); err != nil {
		return err
	}
	// Alpha has released it there, or does so now.
	for {
		out, err := d.lab.Ctl(ctx, "gamma", "work", "list", "--quiet")
		if err == nil && strings.TrimSpace(out) == "" {
			d.step("released at alpha, and so at gamma: neither has a unit any more")
			return nil
		}
		if perr := lab.Pause(ctx, 20*time.Millisecond); perr != nil {
			return errors.Join(perr, err, fmt.Errorf("gamma still has units: %s", out))
		}
	}
}

// ctl runs receptorctl at alpha and says so.
func (d *demo) ctl(ctx context.Context, args ...string) (string, error) {
	d.step("receptorctl %s", strings.Join(args, " "))
	return d.lab.Ctl(ctx, "alpha", args...)
}

// follow prints what a unit writes, when it writes it, and does something in the middle.
func (d *demo) follow(ctx context.Context, midst func() error, options ...string) error {
	args := append([]string{"work", "submit", "count", "--no-payload", "--follow"}, options...)
	cmd := exec.CommandContext(ctx, d.lab.Programs.Path("receptorctl"), append([]string{"--socket", d.lab.Socket("alpha")}, args...)...)
	cmd.Env = d.lab.Env()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	d.step("receptorctl %s", strings.Join(args, " "))
	if err := cmd.Start(); err != nil {
		return err
	}
	n := 0
	for in := bufio.NewScanner(lines); in.Scan(); {
		n++
		d.step("  %s", in.Text())
		if in.Text() != fmt.Sprintf("line %d", n) {
			err = errors.Join(err, fmt.Errorf("that is not line %d", n))
		}
		if n == 3 {
			err = errors.Join(err, midst())
		}
	}
	err = errors.Join(err, cmd.Wait())
	if err == nil && n != 8 {
		err = fmt.Errorf("%d lines of 8", n)
	}
	if err != nil {
		return fmt.Errorf("follow a unit: %w: %s", err, &stderr)
	}
	d.step("the unit has ended; it ran once, all lines are there, and receptorctl exits with 0")
	return nil
}

// killCore kills a node's core as by kill -9.
func (d *demo) killCore(node string) error {
	children, err := lab.Children(d.launcher[node])
	if err != nil {
		return err
	}
	for _, c := range children {
		if c.Program == "receptor-core" {
			d.step("kill -9 of %s's receptor-core (pid %d); receptor starts it again, the unit goes on, and so does receptorctl", node, c.PID)
			return syscall.Kill(c.PID, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("%s's core is not there", node)
}

// killNode kills all programs of a node as by kill -9, sees alpha lose the way to it, and
// starts it again. Only units are left meanwhile, each with its supervisor.
func (d *demo) killNode(ctx context.Context, node string) error {
	programs, err := lab.Children(d.launcher[node])
	if err != nil {
		return err
	}
	killed := []string{fmt.Sprintf("receptor (pid %d)", d.launcher[node])}
	err = syscall.Kill(d.launcher[node], syscall.SIGKILL) // first, or it would start the others again
	for _, p := range programs {
		killed = append(killed, fmt.Sprintf("%s (%d)", p.Program, p.PID))
		err = errors.Join(err, syscall.Kill(p.PID, syscall.SIGKILL))
	}
	if err != nil {
		return fmt.Errorf("kill %s: %w", node, err)
	}
	d.step("kill -9 of all of %s: %s", node, strings.Join(killed, ", "))
	if err := d.lab.WaitStatus(ctx, "alpha", func(s *lab.Status) bool { return s.RoutingTable[node] == "" }); err != nil {
		return err
	}
	d.step("alpha has no way to %s any more; the unit goes on there, and receptorctl waits", node)
	if err := d.startNode(node); err != nil {
		return err
	}
	d.step("receptor --node id=%s ..., as at first", node)
	return nil
}

// cancel cancels some units that would take long.
func (d *demo) cancel(ctx context.Context) error {
	for range 3 {
		if _, err := d.lab.Ctl(ctx, "alpha", "work", "submit", "sleep", "-n"); err != nil {
			return err
		}
	}
	out, err := d.ctl(ctx, "work", "list", "--quiet")
	if err != nil {
		return err
	}
	ids := strings.Fields(out)
	d.step("one has ended and three would sleep for long: %s", strings.Join(ids, " "))
	if out, err = d.ctl(ctx, append([]string{"work", "cancel"}, ids...)...); err != nil {
		return err
	}
	d.step("%s", strings.Join(strings.Fields(strings.NewReplacer("(", "", ")", ";", ",", "").Replace(out)), " "))
	if out, err = d.ctl(ctx, "work", "release", "--all"); err != nil {
		return err
	}
	d.step("released: %d units, and alpha has none any more", strings.Count(out, "released"))
	return nil
}
