package main

// drillCommand rehearses the runbooks.
type drillCommand struct {
	Only     []string `help:"Names of drills; without it all." placeholder:"NAME"`
	Scale    float64  `help:"What the runbooks' times are multiplied by: 0.1 makes ten minutes one." default:"1"`
	List     bool     `help:"List the drills and exit."`
	BasePort int      `help:"The first port of the worlds that are made for it." default:"8080" placeholder:"PORT"`
	Source   string   `help:"The module's root, from which the upgrade's older programs are built." default:"." type:"existingdir"`
}
