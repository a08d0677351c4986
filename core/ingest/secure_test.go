package ingest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"nearside/core/authority"
	"nearside/core/ledger"
	"nearside/sync/trust"
	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

// tlsCore is a server that asks for certificates.
type tlsCore struct {
	*Server
	t     *testing.T
	url   string
	dir   string // its TLS directory
	roots *trust.Roots
}

func startTLS(t *testing.T, store ledger.Store, o Options) *tlsCore {
	t.Helper()
	c := &tlsCore{t: t, dir: filepath.Join(t.TempDir(), "tls")}
	if _, err := authority.Init(c.dir, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	certificates, err := authority.Open(c.dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.roots = certificates.Roots()
	o.Certificates = certificates
	c.Server = New(store, &catalogs{}, o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	_, handler := c.Handler()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: handler, TLSConfig: certificates.Sync(), ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	running.Go(func() { _ = server.ServeTLS(listener, "", "") }) // ends with Close
	c.url = "https://" + listener.Addr().String()
	t.Cleanup(func() {
		cancel()
		_ = server.Close()
		running.Wait()
	})
	eventually(t, "the server is ready", func() bool { return c.Ready(t.Context()) == nil })
	return c
}

// as speaks with a secret and a certificate; nil: none.
func (c *tlsCore) as(secret string, certificate *tls.Certificate) wireconnect.ExchangeClient {
	config := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		return c.roots.Core(s.PeerCertificates, s.ServerName, time.Now())
	}}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP2(true)
	c.t.Cleanup(transport.CloseIdleConnections)
	return wireconnect.NewExchangeClient(&http.Client{Transport: bearer{transport, secret}}, c.url)
}

type bearer struct {
	http.RoundTripper
	secret string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.secret)
	return b.RoundTripper.RoundTrip(r)
}

// credential is a node's.
type credential struct {
	id     uint32
	secret string
	pair   *tls.Certificate
}

// request makes a key and a request; done takes the answer.
func request(t *testing.T) (csr []byte, done func(chain [][]byte) *tls.Certificate) {
	t.Helper()
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if csr, err = trust.Request(key); err != nil {
		t.Fatal(err)
	}
	return csr, func(chain [][]byte) *tls.Certificate {
		if len(chain) == 0 {
			t.Fatal("no certificate came")
		}
		return &tls.Certificate{Certificate: chain, PrivateKey: key}
	}
}

func (c *tlsCore) join(region, name string) credential {
	c.t.Helper()
	csr, done := request(c.t)
	r := registration(name)
	r.Region, r.Csr = region, csr
	got, err := c.as(joinToken, nil).Register(c.t.Context(), r)
	if err != nil {
		c.t.Fatal(err)
	}
	if string(got.GetAuthorities()) != string(c.roots.PEM) {
		c.t.Errorf("authorities %q", got.GetAuthorities())
	}
	return credential{got.GetHolder(), got.GetSecret(), done(got.GetCertificate())}
}

// signed is a certificate that somebody else has made.
func signed(t *testing.T, a *trust.Authority, id trust.Identity, life time.Duration) *tls.Certificate {
	t.Helper()
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue(key.Public(), id, time.Now().Add(-life/2), life)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// theirs is the authority of the core, which whoever stole its key has.
func (c *tlsCore) theirs() *trust.Authority {
	c.t.Helper()
	key, err := os.ReadFile(filepath.Join(c.dir, "ca.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	a, err := trust.ParseAuthority(c.roots.Certs[0], key)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// TestWhoMayCallWhat is the table of every call of the exchange and every kind
// of credential. The calls are those of the protocol's description: one without
// a row here fails.
func TestWhoMayCallWhat(t *testing.T) {
	m := memory()
	c := startTLS(t, m, Options{})
	a, near, b := c.join("us", "a"), c.join("us", "near"), c.join("eu", "b")
	stranger, _, err := trust.NewAuthority("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ident := func(of credential, node string) trust.Identity {
		return trust.Identity{Region: "us", Node: node, Holder: of.id}
	}
	expired := signed(t, c.theirs(), ident(a, "a"), 0)
	kinds := []struct {
		about  string
		secret string
		pair   *tls.Certificate
	}{
		{"its own", a.secret, a.pair},
		{"none", "", nil},
		{"a certificate alone", "", a.pair},
		{"a secret alone", a.secret, nil},
		{"a join token", joinToken, nil},
		{"a join token with a certificate", joinToken, a.pair},
		{"another holder's", b.secret, b.pair},
		{"its secret, another's certificate", a.secret, b.pair},
		{"another's secret, its certificate", b.secret, a.pair},
		{"its secret, a stranger's certificate", a.secret, signed(t, stranger, ident(a, "a"), time.Hour)},
		{"its secret, a core's certificate", a.secret, signed(t, c.theirs(), trust.Core, time.Hour)},
		{"its secret, its certificate out of time", a.secret, expired},
		{"a neighbour's", near.secret, near.pair},
		{"an admin's token", "nearside_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", nil},
	}
	const (
		yes  = connect.Code(0)
		who  = connect.CodeUnauthenticated
		deny = connect.CodePermissionDenied
	)
	// In the order of kinds. Each call speaks for a.
	table := map[string][]connect.Code{
		"Register": {who, who, who, who, yes, yes, who, who, who, who, who, who, who, who},
		"Sync":     {yes, who, who, who, who, who, deny, deny, deny, who, who, who, deny, who},
		"Watch":    {yes, who, who, who, who, who, deny, deny, deny, who, who, who, deny, who},
		// An open holder's own hand-in is refused by the ledger: it came through. A
		// neighbour may ask, since it may keep a copy of the journal.
		"HandIn": {connect.CodeFailedPrecondition, who, who, who, who, who, deny, deny, deny, who, who, who, yes, who},
		"Renew":  {yes, who, who, who, who, who, deny, deny, deny, who, who, yes, deny, who},
		"Fence":  {yes, who, who, who, who, who, deny, deny, deny, who, who, who, deny, who},
		// A core that lost history may not know the holder: its join token stands for it.
		"State": {yes, who, who, who, yes, yes, deny, deny, deny, who, who, who, deny, who},
	}
	call := map[string]func(x wireconnect.ExchangeClient) error{
		"Register": func(x wireconnect.ExchangeClient) error {
			r := registration("new")
			_, err := x.Register(t.Context(), r)
			return err
		},
		"Sync": func(x wireconnect.ExchangeClient) error {
			_, err := x.Sync(t.Context(), &wire.SyncRequest{Protocol: 1, Holder: a.id, Boot: 1, BootOrdinal: 1, Side: &wire.Side{}})
			return err
		},
		"Watch": func(x wireconnect.ExchangeClient) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream, err := x.Watch(ctx, &wire.WatchRequest{Protocol: 1, Holder: a.id})
			if err != nil {
				return err
			}
			defer func() { _ = stream.Close() }()
			if stream.Receive() {
				return nil
			}
			return stream.Err()
		},
		"HandIn": func(x wireconnect.ExchangeClient) error {
			_, err := x.HandIn(t.Context(), &wire.HandInRequest{Holder: a.id, Last: true})
			return err
		},
		"Renew": func(x wireconnect.ExchangeClient) error {
			_, err := x.Renew(t.Context(), &wire.RenewRequest{Protocol: 1, Holder: a.id})
			return err
		},
		"State": func(x wireconnect.ExchangeClient) error {
			_, err := x.State(t.Context(), &wire.StateRequest{Protocol: 1, Statement: &wire.Statement{
				Holder: a.id, Region: "us", Node: "a", Disk: strings.Repeat("0", 32), Boot: 1, BootOrdinal: 1, SecretHash: make([]byte, 32),
			}})
			return err
		},
		"Fence": func(x wireconnect.ExchangeClient) error {
			_, err := x.Fence(t.Context(), &wire.FenceRequest{Protocol: 1, Holder: a.id, Reason: "test"})
			return err
		},
	}
	if _, err := c.as(a.secret, a.pair).Sync(t.Context(), &wire.SyncRequest{Protocol: 1, Holder: a.id, Boot: 1, BootOrdinal: 1, Trust: c.roots.Sum[:]}); err != nil {
		t.Fatal(err)
	}
	c.publisher.(*catalogs).change("x", 0)
	methods := wire.File_sync_wire_exchange_proto.Services().ByName("Exchange").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		want, there := table[name]
		if !there || call[name] == nil || len(want) != len(kinds) {
			t.Errorf("%s: expected a row in this table, for each kind of credential", name)
			continue
		}
		for k := range want {
			c.guesses = guesses{}
			err := call[name](c.as(kinds[k].secret, kinds[k].pair))
			if got := code(err); got != want[k] {
				t.Errorf("%s with %s: %v (%v), want %v", name, kinds[k].about, got, err, want[k])
			}
			for _, secret := range []string{a.secret, b.secret} {
				if err != nil && strings.Contains(err.Error(), strings.SplitN(secret, ".", 2)[1]) {
					t.Errorf("%s with %s: the error tells a secret", name, kinds[k].about)
				}
			}
		}
	}
}

func code(err error) connect.Code {
	if err == nil {
		return 0
	}
	return connect.CodeOf(err)
}

// TestACredentialIsRenewed takes a holder through its credentials: at no moment
// does none count, and the former ends when the next is used.
func TestACredentialIsRenewed(t *testing.T) {
	m := memory()
	c := startTLS(t, m, Options{})
	a := c.join("us", "a")
	sync := func(of credential) (*wire.SyncResponse, error) {
		return c.as(of.secret, of.pair).Sync(t.Context(), &wire.SyncRequest{Protocol: 1, Holder: a.id, Boot: 1, BootOrdinal: 1, Trust: c.roots.Sum[:]})
	}
	if reply, err := sync(a); err != nil || reply.GetRenew() {
		t.Fatalf("a new credential is to be renewed: %v, %v", reply.GetRenew(), err)
	}
	renew := func() credential {
		t.Helper()
		csr, done := request(t)
		got, err := c.as(a.secret, a.pair).Renew(t.Context(), &wire.RenewRequest{Protocol: 1, Holder: a.id, Csr: csr})
		if err != nil {
			t.Fatal(err)
		}
		return credential{a.id, got.GetSecret(), done(got.GetCertificate())}
	}
	lost, next := renew(), renew() // the first answer was lost
	if _, err := sync(a); err != nil {
		t.Errorf("before the next is used: %v", err)
	}
	if _, err := sync(lost); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("an answer that was followed by another: %v", err)
	}
	if _, err := sync(next); err != nil {
		t.Errorf("the next: %v", err)
	}
	if _, err := sync(a); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("the former, after the next was used: %v", err)
	}
	// One that is old, and one that goes by other authorities, are told to renew.
	old, _, err := m.Credential(t.Context(), a.id)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Issue(t.Context(), a.id, ledger.Issued{At: time.Now().Add(-trust.NodeLife / 2).UnixMilli(), Authority: old.Authority, Expires: old.Expires}); err != nil {
		t.Fatal(err)
	}
	c.known.drop(a.id)
	if reply, err := sync(next); err != nil || !reply.GetRenew() {
		t.Errorf("an old credential: renew %v, %v", reply.GetRenew(), err)
	}
	if err := m.Issue(t.Context(), a.id, ledger.Issued{At: time.Now().UnixMilli(), Authority: old.Authority, Expires: old.Expires}); err != nil {
		t.Fatal(err)
	}
	c.known.drop(a.id)
	other, err := c.as(next.secret, next.pair).Sync(t.Context(), &wire.SyncRequest{Protocol: 1, Holder: a.id, Boot: 1, BootOrdinal: 1, Trust: []byte("others")})
	if err != nil || !other.GetRenew() {
		t.Errorf("another's authorities: renew %v, %v", other.GetRenew(), err)
	}
}

// TestAHolderFromBeforeCertificates joined while the port spoke plain HTTP: its
// secret gets it a first certificate, again if the answer was lost, and no more
// once it was heard with one.
func TestAHolderFromBeforeCertificates(t *testing.T) {
	m := memory()
	before := start(t, m, Options{})
	n := before.join("a")
	before.stop()
	c := startTLS(t, m, Options{})
	request1 := &wire.SyncRequest{Protocol: 1, Holder: n.id, Boot: 1, BootOrdinal: 1, Trust: c.roots.Sum[:]}
	if _, err := c.as(n.secret, nil).Sync(t.Context(), request1); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("an exchange without a certificate: %v", err)
	}
	var now credential
	for range 2 {
		csr, done := request(t)
		got, err := c.as(n.secret, nil).Renew(t.Context(), &wire.RenewRequest{Protocol: 1, Holder: n.id, Csr: csr})
		if err != nil {
			t.Fatal(err)
		}
		now = credential{n.id, got.GetSecret(), done(got.GetCertificate())}
	}
	if _, err := c.as(now.secret, now.pair).Sync(t.Context(), request1); err != nil {
		t.Fatal(err)
	}
	c.known.drop(n.id)
	if _, err := c.as(now.secret, nil).Renew(t.Context(), &wire.RenewRequest{Protocol: 1, Holder: n.id}); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("its secret alone, after it was heard with a certificate: %v", err)
	}
}

// TestARevokedCredential ends at cores that remember it, and ends the stream.
func TestARevokedCredential(t *testing.T) {
	m := memory()
	c := start(t, m, Options{Heartbeat: 10 * time.Millisecond})
	n := c.join("a")
	if _, err := n.Sync(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	stream := c.watch(t.Context(), n.secret, &wire.WatchRequest{Protocol: 1, Holder: n.id})
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	m.Revoke(n.id)
	// What is remembered counts for ten seconds; here they have passed.
	c.known.mu.Lock()
	remembered := c.known.kept[n.id]
	remembered.at = remembered.at.Add(-rememberFor)
	c.known.kept[n.id] = remembered
	c.known.mu.Unlock()
	for stream.Receive() {
	}
	if connect.CodeOf(stream.Err()) != connect.CodeUnauthenticated {
		t.Errorf("the stream ended with %v", stream.Err())
	}
	if _, err := n.Sync(t.Context(), n.request()); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("an exchange: %v", err)
	}
}

// TestJoinTokensAreBound holds a token against the region and the time that it
// is for, and counts its uses.
func TestJoinTokensAreBound(t *testing.T) {
	m := memory()
	m.AllowJoinTo("us alone", "us", 0)
	m.AllowJoinTo("too late", "us", time.Now().UnixMilli()-1)
	c := start(t, m, Options{})
	for _, test := range []struct {
		token, region string
		want          connect.Code
	}{
		{"us alone", "us", 0},
		{"us alone", "eu", connect.CodePermissionDenied},
		{"too late", "us", connect.CodeUnauthenticated},
		{joinToken, "eu", 0},
	} {
		r := registration("n")
		r.Region = test.region
		_, err := c.client(test.token).Register(t.Context(), r)
		if code(err) != test.want {
			t.Errorf("%q in %s: %v, want %v", test.token, test.region, err, test.want)
		}
	}
}

// TestGuessing refuses an address that has shown too many wrong credentials,
// without a look at the store, and lets known edges behind it through.
func TestGuessing(t *testing.T) {
	c := start(t, memory(), Options{})
	n := c.join("a")
	if _, err := n.Sync(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	for i := range mostGuesses {
		if err := register(t, c, fmt.Sprint("guess ", i), "x"); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	for name, err := range map[string]error{
		"one more":        register(t, c, "guess", "x"),
		"the right token": register(t, c, joinToken, "x"), // from here, now, not even that
		"another secret": func() error {
			_, err := c.client(fmt.Sprintf("%d.%064x", n.id, 1)).Sync(t.Context(), n.request())
			return err
		}(),
	} {
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.Sync(t.Context(), n.request()); err != nil {
		t.Errorf("an edge that is known: %v", err)
	}
	var g guesses
	now := time.Now()
	for i := range 3 * mostGuessers {
		g.wrong(source(fmt.Sprintf("[2001:db8:%x::1]:1", i)), now)
	}
	if len(g.from) > mostGuessers {
		t.Errorf("%d addresses are remembered", len(g.from))
	}
	if source("[2001:db8::1]:1") != source("[2001:db8::2]:9") || source("10.0.0.1:1") == source("10.0.0.2:1") {
		t.Error("addresses are counted under the wrong network")
	}
	for range mostGuesses {
		g.wrong(source("10.0.0.1:1"), now)
	}
	if !g.over(source("10.0.0.1:2"), now) || g.over(source("10.0.0.1:2"), now.Add(guessWindow)) {
		t.Error("the window is wrong")
	}
}
