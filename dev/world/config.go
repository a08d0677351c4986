package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Never as Config.RestartAfter leaves dead what dies.
const Never time.Duration = -1

// Config says what the world is made of.
type Config struct {
	Dir          string        // where the state is
	BasePort     int           // ports are counted from here, as CONTRIBUTING.md says
	Regions      []string      // their names, in the order of their ports
	Nodes        int           // edges per region
	Cores        int           // cores on the one database; 0 is 1
	RestartAfter time.Duration // how long the dead stay dead; Never
	Fresh        bool          // throw the old state away
	Programs     string        // directory of nearside-core and nearside-edge
	DatabaseURL  string        // a database to use instead of a private Postgres
	Log          io.Writer     // told in lines what happens; may be nil, and may be slow
	Verbose      bool          // Log also gets a copy of what the processes say
	CoreArgs     []string      // further arguments of nearside-core serve
	EdgeArgs     []string      // further arguments of nearside-edge
	TLS          bool          // between core and edges, and between edges, with an authority of the world's own

	// Via, where it is not nil, says at which address the edge of that name
	// finds a core whose sync API is at url: tests put a proxy between.
	Via func(edge, url string) (string, error)

	// Network, where it is not nil, is where the parts run, each on a machine of
	// its own (see Machines). On loopback there are forwarders to them, on the
	// ports that they would have there; Via does not go with it.
	Network Network

	// Standby adds a second Postgres that replicates the first one's writes
	// before they are answered; it needs a Network. Promote makes it the first.
	Standby bool
}

// Network is a set of machines that can only reach each other.
type Network interface {
	// Addr is the address of a machine.
	Addr(machine string) netip.Addr
	// Within runs do on the calling thread as if on the machine.
	Within(machine string, do func() error) error
	// Dial connects from a machine to an address.
	Dial(ctx context.Context, machine, address string) (net.Conn, error)
}

// The machines of a world that has a Network; further ones are the edges, by
// their names, and the further cores: core-2, core-3 …
const (
	coreMachine     = "core"
	postgresMachine = "postgres"
	standbyMachine  = "standby"
)

// Machines are the names that the Network must know, each with its region;
// Postgres and the cores are in the first.
func (c *Config) Machines() (names, regions []string) {
	add := func(name, region string) { names, regions = append(names, name), append(regions, region) }
	if c.DatabaseURL == "" {
		add(postgresMachine, c.Regions[0])
	}
	if c.Standby {
		add(standbyMachine, c.Regions[0])
	}
	for i := range c.cores() {
		add(coreName(i), c.Regions[0])
	}
	for _, region := range c.Regions {
		for j := range c.Nodes {
			add(nodeName(region, j), region)
		}
	}
	return names, regions
}

func coreName(i int) string {
	if i == 0 {
		return coreMachine
	}
	return fmt.Sprintf("%s-%d", coreMachine, i+1)
}

const (
	maxNodes   = 9 // more would reach into the next region's ports
	maxRegions = 50
	maxCores   = 9 // more would reach into the first region's ports
)

var name = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Validate checks what can be wrong with a configuration, naming the flag.
func (c *Config) Validate() error {
	if c.Nodes < 1 || c.Nodes > maxNodes {
		return fmt.Errorf("--nodes: expected 1 to %d, not %d", maxNodes, c.Nodes)
	}
	if c.Cores < 0 || c.Cores > maxCores {
		return fmt.Errorf("expected 1 to %d cores, not %d", maxCores, c.Cores)
	}
	if len(c.Regions) < 1 || len(c.Regions) > maxRegions {
		return fmt.Errorf("--regions: expected 1 to %d names, not %d", maxRegions, len(c.Regions))
	}
	seen := map[string]bool{}
	for _, r := range c.Regions {
		if !name.MatchString(r) {
			return fmt.Errorf("--regions: expected lower-case letters, digits and dashes, not %q", r)
		}
		if seen[r] {
			return fmt.Errorf("--regions: %s is there twice", r)
		}
		seen[r] = true
	}
	if last := c.edgePort(len(c.Regions)-1, c.Nodes-1) + peer; c.BasePort < 1 || last > 65535 {
		return fmt.Errorf("--base-port: expected 1 to %d for so many regions, not %d", 65535-(last-c.BasePort), c.BasePort)
	}
	if c.Network != nil && c.DatabaseURL != "" {
		return errors.New("a network of machines brings its own Postgres: they could not reach another one (unset NEARSIDE_DATABASE_URL)")
	}
	if c.Standby && c.Network == nil {
		return errors.New("a standby needs a network of machines")
	}
	if c.RestartAfter < 0 && c.RestartAfter != Never {
		return fmt.Errorf("--restart-after: expected a duration or never, not %s", c.RestartAfter)
	}
	return nil
}

// What a port is for: added to the port of a core for its own, to the base port
// for Postgres, to the port of a node for an edge's.
const (
	admin      = 0
	sync       = 1
	operations = 2
	postgres   = 3
	standby    = 4

	public  = 0
	edgeOps = 1
	gossip  = 2
	peer    = 3
)

func (c *Config) edgePort(region, node int) int { return c.BasePort + 100*(region+1) + 10*node }

// corePort is where a core's ports begin; the first one's is the base port.
func (c *Config) corePort(core int) int { return c.BasePort + 10*core }

func (c *Config) cores() int { return max(c.Cores, 1) }

// at is the address of a port on the machine where a part runs.
func (c *Config) at(machine string, port int) string {
	if c.Network == nil {
		return address(port)
	}
	return netip.AddrPortFrom(c.Network.Addr(machine), uint16(port)).String()
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func url(port int) string { return "http://" + address(port) }

// scheme is how the sync API is spoken.
func (c *Config) scheme() string {
	if c.TLS {
		return "https://"
	}
	return "http://"
}

// The TLS directory of the cores, with the authority's key, and that of the
// edges, without.
const (
	coreTLS = "tls"
	edgeTLS = "tls-edge"
)

func (c *Config) file(name ...string) string {
	return filepath.Join(append([]string{c.Dir}, name...)...)
}

// checkPorts says which port somebody else has. Nothing holds them until the
// processes start, so this is for the message: a program that fails to listen
// says less.
func (c *Config) checkPorts() error {
	check := func(port int, what string) error {
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			return fmt.Errorf("port %d, for %s, is in use: stop what listens there, or choose another --base-port (%w)", port, what, err)
		}
		return l.Close()
	}
	for i := range c.cores() {
		for k, what := range []string{"the core's admin API", "the core's sync API", "the core's operations"} {
			if err := check(c.corePort(i)+k, what); err != nil {
				return err
			}
		}
	}
	if c.DatabaseURL == "" {
		if err := check(c.BasePort+postgres, "Postgres"); err != nil {
			return err
		}
	}
	if c.Standby {
		if err := check(c.BasePort+standby, "the standby of Postgres"); err != nil {
			return err
		}
	}
	for i, region := range c.Regions {
		for j := range c.Nodes {
			for k, what := range []string{"readers", "operations", "gossip", "peers"} {
				if err := check(c.edgePort(i, j)+k, fmt.Sprintf("%s of the edge %s", what, nodeName(region, j))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func nodeName(region string, node int) string { return fmt.Sprintf("%s-%d", region, node+1) }
