package main

import (
	"fmt"
	"os/exec"

	"nearside/dev/dist"
)

// release is the command dist.
type release struct {
	Out           string   `help:"The folder to make; replaced where an earlier run made it." default:"dist" type:"path"`
	Source        string   `help:"The module's root." default:"." type:"existingdir"`
	Architectures []string `help:"The processors to build for." default:"amd64,arm64" name:"arch"`
	NFPM          string   `help:"nfpm, which writes the packages." default:"nfpm" name:"nfpm"`
	CycloneDX     string   `help:"cyclonedx-gomod, which writes the bills of materials." default:"cyclonedx-gomod" name:"cyclonedx-gomod"`
}

func (r *release) Run(e *env) error {
	var err error
	for _, tool := range []struct {
		flag string
		path *string
	}{{"--nfpm", &r.NFPM}, {"--cyclonedx-gomod", &r.CycloneDX}} {
		if *tool.path, err = exec.LookPath(*tool.path); err != nil {
			return usageError{fmt.Errorf("%s: %w (make dist installs it)", tool.flag, err)}
		}
	}
	ctx, _, stop := e.interrupted()
	defer stop()
	return dist.Make(ctx, dist.Config{
		Source: r.Source, Out: r.Out, Architectures: r.Architectures, NFPM: r.NFPM, CycloneDX: r.CycloneDX, Log: e.stderr,
	})
}
