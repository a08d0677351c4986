package serve

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// accepted is a connection under deadlines that nobody looks at but the test,
// and its other end.
func accepted(t *testing.T) (*deadlines, *conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := &deadlines{every: time.Hour}
	c, err := (&listener{Listener: l, deadlines: d}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); c.Close() })
	return d, c.(*conn), client
}

func TestLimitsEndWhatTheyLimit(t *testing.T) {
	now := time.Now()
	after := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	over := func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
	fine := func(err error) bool { return err == nil }
	for name, row := range map[string]struct {
		limits []time.Time // set one after the other
		look   time.Time   // then the connections are looked at as of this time
		anew   []time.Time // and these are set
		want   func(error) bool
	}{
		"it ends":                        {[]time.Time{after(10)}, after(11), nil, over},
		"not before its time":            {[]time.Time{after(10)}, after(9), nil, fine},
		"the last one set counts":        {[]time.Time{after(10), after(60)}, after(11), nil, fine},
		"none":                           {[]time.Time{after(10), {}}, after(11), nil, fine},
		"a new one lets it go on":        {[]time.Time{after(10)}, after(11), []time.Time{after(7200)}, fine},
		"so does none":                   {[]time.Time{after(10)}, after(11), []time.Time{{}}, fine},
		"one that is over ends it":       {nil, now, []time.Time{after(-1)}, over},
		"over, and then not":             {nil, now, []time.Time{after(-1), after(7200)}, fine},
		"over since long, by the clock":  {nil, now, []time.Time{time.Unix(1, 0)}, over},
		"to come, as the clock goes now": {nil, now, []time.Time{after(1800)}, fine},
	} {
		t.Run(name, func(t *testing.T) {
			d, c, client := accepted(t)
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			set := func(limits []time.Time) {
				for _, at := range limits {
					if err := errors.Join(c.SetReadDeadline(at), c.SetWriteDeadline(at)); err != nil {
						t.Fatal(err)
					}
				}
			}
			set(row.limits)
			d.look(row.look)
			set(row.anew)
			if _, err := c.Read(make([]byte, 1)); !row.want(err) {
				t.Errorf("read: %v", err)
			}
			if _, err := c.Write([]byte("y")); !row.want(err) {
				t.Errorf("write: %v", err)
			}
		})
	}
}

func TestALimitInterruptsAReadThatWaits(t *testing.T) {
	d, c, _ := accepted(t)
	now := time.Now()
	if err := c.SetReadDeadline(now.Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	d.look(now.Add(11 * time.Second))
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want the limit's error", err)
	}
}

func TestClosedConnectionsAreForgotten(t *testing.T) {
	d, c, client := accepted(t)
	if got := c.RemoteAddr().String(); got != client.LocalAddr().String() {
		t.Errorf("the other end is %s, want %s", got, client.LocalAddr())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range d.shards {
		if n := len(d.shards[i].conns); n != 0 {
			t.Errorf("%d connections in shard %d", n, i)
		}
	}
}
