//go:build linux

package drill

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nearside/dev/world"
)

var rotateKeys = Drill{
	Name: "rotate-keys", Runbook: "rotate-keys.md",
	About: "every key is replaced under traffic: gossip, authority, tokens of beacons, of joining and of people",
	shape: func(c *world.Config) { c.Regions, c.Nodes, c.TLS = []string{"us-east", "eu-west"}, 2, true },
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate/2)
		if err := s.viewsCome(ctx, 50); err != nil {
			return err
		}
		goesOn := func(what string) error {
			for _, e := range s.Ready().Edges {
				if _, err := s.until(ctx, time.Minute, e.Node+" sees its peer", func() (bool, error) {
					n, err := s.metric(ctx, e.Ops, "nearside_edge_region_nodes")
					return n == 2, err
				}); err != nil {
					return err
				}
			}
			if err := s.exchanged(ctx); err != nil {
				return err
			}
			if err := s.viewsCome(ctx, 10); err != nil {
				return err
			}
			s.check(s.answered().failed == 0, "%s: every node sees its peer and the core, and nothing failed", what)
			return nil
		}
		file := filepath.Join(s.config.Dir, "gossip.key")
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return err
		}
		was, next := strings.TrimSpace(string(text)), base64.StdEncoding.EncodeToString(key)
		for _, step := range []struct{ what, keys string }{
			{"the next gossip key is understood", was + "\n" + next},
			{"it encrypts", next + "\n" + was},
			{"it is alone", next},
		} {
			const taken = "nearside_edge_gossip_key_changes_total"
			before := map[string]float64{}
			for _, e := range s.Ready().Edges {
				if before[e.Node], err = s.metric(ctx, e.Ops, taken); err != nil {
					return err
				}
			}
			if err := os.WriteFile(file, []byte(step.keys+"\n"), 0o600); err != nil {
				return err
			}
			for _, e := range s.Ready().Edges {
				if _, err := s.until(ctx, time.Minute, e.Node+" takes the keys", func() (bool, error) {
					n, err := s.metric(ctx, e.Ops, taken)
					return n > before[e.Node], err
				}); err != nil {
					return err
				}
			}
			if err := goesOn(step.what); err != nil {
				return err
			}
		}
		edges := len(s.Ready().Edges)
		for range 3 {
			said, err := s.Tool(ctx, s.Programs, "ca", "rollover")
			if err != nil {
				return err
			}
			if _, err := s.until(ctx, 2*time.Minute, "every node has followed", func() (bool, error) {
				list, err := s.Tool(ctx, s.Programs, "ca", "list")
				return strings.Count(list, "these") == edges, err
			}); err != nil {
				return err
			}
			if err := goesOn("ca rollover: " + said); err != nil {
				return err
			}
		}
		said, err := s.Tool(ctx, s.Programs, "token-key", "rotate")
		if err != nil {
			return err
		}
		if err := goesOn("token-key rotate: " + said); err != nil {
			return err
		}
		for _, kind := range []string{"join-token", "token"} {
			args := []string{kind, "create", "--name", "next"}
			if kind == "token" {
				args = append(args, "--role", "viewer")
			}
			if _, err := s.Tool(ctx, s.Programs, args...); err != nil {
				return err
			}
			list, err := s.Tool(ctx, s.Programs, kind, "list")
			if err != nil {
				return err
			}
			for line := range strings.Lines(list) {
				if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == "next" {
					if _, err := s.Tool(ctx, s.Programs, kind, "revoke", fields[0]); err != nil {
						return err
					}
				}
			}
			if err := goesOn(fmt.Sprintf("a %s was made and ended", kind)); err != nil {
				return err
			}
		}
		return s.settle(ctx, 0)
	},
}

var diskReplicated = Drill{
	Name: "disk-deleted-with-peer", Runbook: "stranded-holder.md",
	About: "the disk of a node is deleted under traffic, in a region that replicates",
	shape: func(c *world.Config) {
		c.Regions, c.Nodes, c.EdgeArgs = []string{"us-east", "eu-west"}, 2, []string{"--replicate"}
	},
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 100); err != nil {
			return err
		}
		i, e := s.node("eu-west-1")
		list, err := s.holders(ctx, e.Node)
		if err != nil {
			return err
		}
		s.Edges[i].Kill() // in the middle of views
		s.leave(e.Node)
		if err := os.RemoveAll(e.Dir); err != nil {
			return err
		}
		s.say("eu-west-1 is killed and its disk is empty; its holder was %d", list[0].ID)
		if err := s.fence(ctx, list[0].ID); err != nil {
			return err
		}
		took, err := s.until(ctx, 2*time.Minute, "its peer hands in the copy", func() (ok bool, err error) {
			list, err = s.holders(ctx, e.Node)
			return len(list) == 1 && list[0].State == "closed", err
		})
		s.check(err == nil, "its peer has handed in the copy, and it is closed, %.1f s after the fence: %s", took.Seconds(), states(list))
		if err := s.start(ctx, e.Node); err != nil {
			return err
		}
		s.check(true, "on its empty disk it joins anew")
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}
