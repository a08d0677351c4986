//go:build linux

package planet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"nearside/dev/wan"
)

// Socket is the name of the control socket in a world's directory: HTTP over a
// Unix socket that only its owner can open. GET / answers with the ways as
// they are, in JSON; POST / takes an Order.
const Socket = "wan.sock"

// Order is one change. Do is cut, heal or delay; A and B are regions or
// machines, as Cut says. The rest is for delay.
type Order struct {
	Do        string        `json:"do"`
	A         string        `json:"a"`
	B         string        `json:"b,omitempty"`
	Delay     time.Duration `json:"delay_ns,omitempty"` // one way
	Jitter    time.Duration `json:"jitter_ns,omitempty"`
	Loss      float64       `json:"loss,omitempty"`      // 0..1
	Bandwidth int64         `json:"bandwidth,omitempty"` // bytes a second; 0: no limit
}

// Way is one direction between two machines.
type Way struct {
	From      string        `json:"from"`
	To        string        `json:"to"`
	Cut       bool          `json:"cut"`
	Delay     time.Duration `json:"delay_ns"`
	Jitter    time.Duration `json:"jitter_ns"`
	Loss      float64       `json:"loss"`
	Bandwidth int64         `json:"bandwidth"`
	Carried   int64         `json:"carried"` // packets
	Dropped   int64         `json:"dropped"`
}

// State is what GET answers with.
type State struct {
	Machines []Machine `json:"machines"`
	Ways     []Way     `json:"ways"`
}

// Machine is one of them.
type Machine struct {
	Name      string `json:"name"`
	Region    string `json:"region"`
	Addr      string `json:"addr"`
	Namespace string `json:"namespace"` // in /run/netns
}

// Control serves the socket.
type Control struct {
	server *http.Server
	done   chan struct{}
}

func (p *Planet) serve(path string) (*Control, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.State())
	})
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		in := json.NewDecoder(io.LimitReader(r.Body, 1<<16))
		in.DisallowUnknownFields()
		err := in.Decode(&o)
		if err == nil {
			err = p.Obey(o)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	c := &Control{server: &http.Server{Handler: mux, ReadTimeout: 5 * time.Second}, done: make(chan struct{})}
	go func() { defer close(c.done); _ = c.server.Serve(l) }() // ends with ErrServerClosed
	return c, nil
}

func (c *Control) close() {
	_ = c.server.Close() // removes the socket too
	<-c.done
}

// Obey does as an order says.
func (p *Planet) Obey(o Order) error {
	switch o.Do {
	case "cut":
		if o.A == "" {
			return errors.New("cut: expected a region or a machine")
		}
		return p.Cut(o.A, o.B)
	case "heal":
		return p.Heal(o.A, o.B)
	case "delay":
		if o.A == "" {
			return errors.New("delay: expected a region or a machine")
		}
		return p.Delay(o.A, o.B, wan.Link{Delay: o.Delay, Jitter: o.Jitter, Loss: o.Loss, Bandwidth: o.Bandwidth})
	default:
		return fmt.Errorf("expected cut, heal or delay, not %q", o.Do)
	}
}

// State is the network as it is now.
func (p *Planet) State() State {
	var s State
	for _, from := range p.net.Hosts() {
		s.Machines = append(s.Machines, Machine{Name: from.Name, Region: p.region[from.Name], Addr: from.Addr.String(), Namespace: from.Namespace()})
		for _, to := range p.net.Hosts() {
			if from == to {
				continue
			}
			link, cut, err := p.net.Link(from.Name, to.Name)
			if err != nil {
				continue // both are hosts of this network
			}
			carried, dropped := p.net.Carried(from.Name, to.Name)
			s.Ways = append(s.Ways, Way{
				From: from.Name, To: to.Name, Cut: cut, Delay: link.Delay, Jitter: link.Jitter, Loss: link.Loss, Bandwidth: link.Bandwidth,
				Carried: carried, Dropped: dropped,
			})
		}
	}
	return s
}

// Remote is the control socket of a planet that another process runs.
type Remote struct{ client *http.Client }

// Reach finds the socket in a world's directory.
func Reach(dir string) (*Remote, error) {
	path := filepath.Join(dir, Socket)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no %s: is nearside-dev up --wan running, with this --dir?", path)
	}
	return &Remote{&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}}, nil
}

// Order sends one.
func (r *Remote) Order(ctx context.Context, o Order) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = r.do(ctx, http.MethodPost, text)
	return err
}

// State asks how things are.
func (r *Remote) State(ctx context.Context) (s State, err error) {
	text, err := r.do(ctx, http.MethodGet, nil)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

func (r *Remote) do(ctx context.Context, method string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://wan/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the control socket does not answer: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(string(bytes.TrimSpace(text)))
	}
	return text, nil
}
