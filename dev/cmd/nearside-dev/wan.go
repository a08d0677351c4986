package main

import "time"

// wanCommand orders the WAN of a running up --wan about.
type wanCommand struct {
	Dir string `help:"The --dir of nearside-dev up --wan." default:".nearside" placeholder:"DIR"`

	Show  wanShow  `cmd:"" help:"List the machines and what is between them."`
	Cut   wanCut   `cmd:"" help:"Drop everything between two sides, each a region or a machine."`
	Heal  wanHeal  `cmd:"" help:"Undo cuts: all, one side's, or one."`
	Delay wanDelay `cmd:"" help:"Make the way between two sides so long."`
	Exec  wanExec  `cmd:"" help:"Run a program on a machine: nearside-dev wan exec readers-eu-west -- curl …"`
}

type wanShow struct{}

type wanCut struct {
	A string `arg:"" help:"A region or a machine."`
	B string `arg:"" optional:"" help:"Another; without it everything else."`
}

type wanHeal struct {
	A string `arg:"" optional:"" help:"A region or a machine; without it every cut."`
	B string `arg:"" optional:"" help:"Another; without it everything else."`
}

type wanDelay struct {
	A         string        `arg:"" help:"A region or a machine."`
	B         string        `arg:"" help:"Another."`
	Delay     time.Duration `arg:"" help:"One way, such as 80ms."`
	Jitter    time.Duration `help:"Added to the delay, at random from 0." placeholder:"DURATION"`
	Loss      float64       `help:"Share of packets that is lost, 0 to 1."`
	Bandwidth int64         `help:"Bytes per second; 0: no limit." placeholder:"BYTES"`
}

type wanExec struct {
	Machine string   `arg:"" help:"A machine."`
	Command []string `arg:"" passthrough:"" help:"What to run."`
}
