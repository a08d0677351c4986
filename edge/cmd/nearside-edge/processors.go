package main

import (
	"os"
	"runtime"
)

// processors is how many the process may use, before scheduleMore.
var processors = runtime.GOMAXPROCS(0)

// forTheDisk is how many threads may run Go code beyond the processors there are.
const forTheDisk = 2

// scheduleMore lets more threads run Go code than there are processors, unless an
// operator has said how many (GOMAXPROCS). A thread that is in fdatasync keeps
// its right to run Go code until the runtime notices, and must wait for another
// one's when it is back, behind dozens of requests; with one processor all stood
// still meanwhile (docs/decisions/0072).
func scheduleMore() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors + forTheDisk)
	}
}
