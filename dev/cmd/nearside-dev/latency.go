package main

// latencyCommand measures what readers wait for, near and central.
type latencyCommand struct {
	Out      string `help:"Directory for latency.md, latency.json and latency.svg." default:"docs" type:"existingdir"`
	Samples  int    `help:"Of each cell of the table." default:"1000"`
	Readers  int    `help:"At a time, in each region." default:"16"`
	BasePort int    `help:"The first port of the world that is made for it." default:"8080" placeholder:"PORT"`
}
