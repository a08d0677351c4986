package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"nearside/edge/creative"
	"nearside/edge/credential"
	"nearside/edge/serve"
	"nearside/edge/statedir"
	"nearside/edge/visitor"
)

// settings are all that can be configured: by flag, by environment variable,
// or in the YAML file under the flag's name, in this order of precedence.
type settings struct {
	Config  kong.ConfigFlag  `help:"YAML file with the same keys as the flags." env:"NEARSIDE_CONFIG" placeholder:"FILE"`
	Check   bool             `help:"Check the configuration, print what is in force, and exit."`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Region        string   `help:"Region that this node belongs to." env:"NEARSIDE_REGION" required:"" placeholder:"NAME"`
	Node          string   `help:"Name of this node, unique in its region." env:"NEARSIDE_NODE" required:"" placeholder:"NAME"`
	Core          []string `help:"URL of the core's exchange; several are tried in turn. An https URL is checked with the ca.pem of --tls-dir, else with the system's roots, or those of SSL_CERT_FILE." env:"NEARSIDE_CORE" required:"" placeholder:"URL"`
	JoinTokenFile string   `help:"File with the token that lets this node join; read when it has no holder." env:"NEARSIDE_JOIN_TOKEN_FILE" placeholder:"FILE"`
	TLSDir        string   `help:"Directory of ca.pem (the authority of the core: nearside-core ca init) and of public.pem (what the public port shows; its key is in public.key or, where there is none, in public.pem too). With ca.pem the node shows the core and its peers a certificate, which the core signs; without public.pem the public port speaks plain HTTP." name:"tls-dir" env:"NEARSIDE_TLS_DIR" placeholder:"DIR"`
	StateDir      string   `help:"Directory for what must survive: identity, journal, catalog." env:"NEARSIDE_STATE_DIR" required:"" placeholder:"DIR"`

	Listen       []string `help:"Addresses of the public port. With a public.pem in --tls-dir they speak TLS, but for those that begin with http://, which balancers' checks may need." env:"NEARSIDE_LISTEN" default:":8180" placeholder:"[http://]HOST:PORT"`
	OpsListen    string   `help:"Address of the operations port, which is not public." env:"NEARSIDE_OPS_LISTEN" default:"127.0.0.1:8181" placeholder:"HOST:PORT"`
	GossipListen string   `help:"Address of the gossip port, UDP and TCP, for the nodes of the region." env:"NEARSIDE_GOSSIP_LISTEN" default:"127.0.0.1:8182" placeholder:"IP:PORT"`
	PeerListen   string   `help:"Address of the peer port, for the nodes of the region." env:"NEARSIDE_PEER_LISTEN" default:"127.0.0.1:8183" placeholder:"IP:PORT"`
	PublicURL    string   `help:"What beacon URLs begin with: the region's own name. Without it, the host that a request came for." env:"NEARSIDE_PUBLIC_URL" name:"public-url" placeholder:"URL"`

	Seeds         []string `help:"Gossip addresses of other nodes of the region." env:"NEARSIDE_SEEDS" placeholder:"HOST:PORT"`
	GossipKeyFile string   `help:"File with the region's keys, base64 of 32 bytes each, one a line, the newest first. Without it this node is alone in its region." env:"NEARSIDE_GOSSIP_KEY_FILE" placeholder:"FILE"`

	Replicate bool `help:"Answer views and clicks once a second node of the region has them on its disk too. Every node with a gossip key keeps copies for others." env:"NEARSIDE_REPLICATE"`

	ExchangeInterval time.Duration `help:"Time between exchanges with the core." env:"NEARSIDE_EXCHANGE_INTERVAL" default:"1s"`
	MaxOffline       time.Duration `help:"How long leases should last without the core." env:"NEARSIDE_MAX_OFFLINE" default:"4h"`
	FenceAfter       time.Duration `help:"After how long the core closes silent holders; paid offers stop an hour before." env:"NEARSIDE_FENCE_AFTER" default:"24h"`

	TrustedProxies    int      `help:"How many proxies append to X-Forwarded-For before this node." env:"NEARSIDE_TRUSTED_PROXIES" default:"0"`
	CDNHeaders        []string `help:"Headers in which a trusted CDN sends the client's address, which wins over trusted-proxies, and after a comma its country; either may be empty." env:"NEARSIDE_CDN_HEADERS" name:"cdn-headers" placeholder:"ADDRESS,COUNTRY"`
	GeoFile           string   `help:"MMDB file of countries or cities; without it the built-in country database." env:"NEARSIDE_GEO_FILE" placeholder:"FILE"`
	BlocklistFile     string   `help:"YAML file of what else does not count: agents and referrers (regular expressions), ips and internal_ips (CIDR), asns and asn_rates (events/seconds)." env:"NEARSIDE_BLOCKLIST_FILE" placeholder:"FILE"`
	RateLimits        bool     `help:"Limit the views and clicks of one address." env:"NEARSIDE_RATE_LIMITS" default:"true" negatable:""`
	DebugHeaders      bool     `help:"Send X-Adserver-Reason and what is known of the visitor." env:"NEARSIDE_DEBUG_HEADERS"`
	OperatorTokenFile string   `help:"File with the tokens, one a line, whose bearers may have any decision explained. Without it, only publishers' tokens explain their own." env:"NEARSIDE_OPERATOR_TOKEN_FILE" placeholder:"FILE"`

	blocklist  blocklist
	gossipKeys [][]byte
	operators  [][32]byte // SHA-256 of their tokens
}

const (
	plain     = "http://" // before an address of the public port: never TLS
	maxListen = 8
)

// name is what a region or node may be called: it stands in metrics, in host
// names and in the core's tables.
var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate is called by kong once everything is read.
func (s *settings) Validate() error {
	if !name.MatchString(s.Region) {
		return fmt.Errorf("--region: expected lower-case letters, digits and dashes, not %q", s.Region)
	}
	if !name.MatchString(s.Node) {
		return fmt.Errorf("--node: expected lower-case letters, digits and dashes, not %q", s.Node)
	}
	for _, c := range s.Core {
		u, err := url.Parse(c)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return errors.New("--core: expected http:// or https://, a host and perhaps a port, without a user or a query")
		}
	}
	for _, a := range []struct{ key, text string }{
		{"--ops-listen", s.OpsListen}, {"--gossip-listen", s.GossipListen}, {"--peer-listen", s.PeerListen},
	} {
		if err := address(a.key, a.text); err != nil {
			return err
		}
	}
	if len(s.Listen) == 0 || len(s.Listen) > maxListen {
		return fmt.Errorf("--listen: expected 1 to %d addresses, not %d", maxListen, len(s.Listen))
	}
	for _, listen := range s.Listen {
		if err := address("--listen", strings.TrimPrefix(listen, plain)); err != nil {
			return err
		}
	}
	for _, seed := range s.Seeds {
		if err := address("--seeds", seed); err != nil {
			return err
		}
	}
	if s.PublicURL != "" && !creative.SafeBase([]byte(strings.TrimRight(s.PublicURL, "/"))) {
		return fmt.Errorf("--public-url: expected http:// or https://, a host, perhaps a port and a path, not %q", s.PublicURL)
	}
	for _, d := range []struct {
		key       string
		d, lo, hi time.Duration
	}{
		{"--exchange-interval", s.ExchangeInterval, 10 * time.Millisecond, time.Hour},
		{"--max-offline", s.MaxOffline, time.Second, 7 * 24 * time.Hour},
		{"--fence-after", s.FenceAfter, time.Hour, 30 * 24 * time.Hour},
	} {
		if d.d < d.lo || d.d > d.hi {
			return fmt.Errorf("%s: expected %v to %v, not %v", d.key, d.lo, d.hi, d.d)
		}
	}
	if s.TrustedProxies < 0 || s.TrustedProxies > 16 {
		return fmt.Errorf("--trusted-proxies: expected 0 to 16, not %d", s.TrustedProxies)
	}
	if len(s.CDNHeaders) > 2 {
		return fmt.Errorf("--cdn-headers: expected at most two, for the address and the country, not %d", len(s.CDNHeaders))
	}
	for _, header := range s.CDNHeaders {
		if header != "" && !headerName.MatchString(header) {
			return fmt.Errorf("--cdn-headers: expected names of headers, not %q", header)
		}
	}
	if len(s.Seeds) > 0 && s.GossipKeyFile == "" {
		return errors.New("--gossip-key-file: expected, since there are --seeds")
	}
	if s.Replicate && s.GossipKeyFile == "" {
		return errors.New("--gossip-key-file: expected, since there is --replicate")
	}
	var err error
	if s.gossipKeys, err = readKeys(s.GossipKeyFile); err != nil {
		return fmt.Errorf("--gossip-key-file: %w", err)
	}
	if s.operators, err = readTokens(s.OperatorTokenFile); err != nil {
		return fmt.Errorf("--operator-token-file: %w", err)
	}
	if err := s.checkTLS(); err != nil {
		return fmt.Errorf("--tls-dir: %w", err)
	}
	if s.blocklist, err = readBlocklist(s.BlocklistFile); err != nil {
		return fmt.Errorf("--blocklist-file: %w", err)
	}
	return nil
}

// checkTLS reads what the operator put into --tls-dir.
func (s *settings) checkTLS() error {
	if s.TLSDir == "" {
		return nil
	}
	if _, err := os.ReadDir(s.TLSDir); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	_, err := credential.Open(s.TLSDir, nothing{}, quiet)
	if err == nil {
		_, err = credential.Public(s.TLSDir, quiet)
	}
	return err
}

// nothing is a state directory that was not looked at.
type nothing struct{}

func (nothing) StoredCertificate() (c statedir.Certificate, err error) { return c, nil }
func (nothing) StoreCertificate(statedir.Certificate) error {
	return errors.New("this is no state directory")
}

// joinToken reads the token each time it is needed, so that it can be replaced.
func (s *settings) joinToken() (string, error) {
	if s.JoinTokenFile == "" {
		return "", errors.New("--join-token-file: expected, since this state directory has no holder yet")
	}
	b, err := readFile(s.JoinTokenFile)
	if err != nil {
		return "", fmt.Errorf("--join-token-file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// cdnHeader is the name of a header that a CDN sends, "" for none.
func (s *settings) cdnHeader(i int) string {
	if i < len(s.CDNHeaders) {
		return s.CDNHeaders[i]
	}
	return ""
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// address checks a host:port to listen on or to call.
func address(key, text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%s: expected host:port, not %q", key, text)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s: expected a port from 0 to 65535, not %q", key, port)
	}
	return nil
}

// readKeys reads the region's keys. Errors do not say what the file holds.
func readKeys(file string) (keys [][]byte, err error) {
	if file == "" {
		return nil, nil
	}
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Fields(string(text)) {
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("%s: key %d: expected base64 of 32 bytes", file, i+1)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no key in it", file)
	}
	return keys, nil
}

// readTokens reads the hashes of operators' tokens. Errors do not say what the
// file holds.
func readTokens(file string) (hashes [][32]byte, err error) {
	if file == "" {
		return nil, nil
	}
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	const shortest = 16 // characters: what is shorter could be guessed
	for i, token := range strings.Fields(string(text)) {
		if len(token) < shortest {
			return nil, fmt.Errorf("%s: token %d: expected at least %d characters", file, i+1, shortest)
		}
		hashes = append(hashes, sha256.Sum256([]byte(token)))
	}
	if len(hashes) == 0 {
		return nil, fmt.Errorf("%s: no token in it", file)
	}
	return hashes, nil
}

// readFile reads a small file whole.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 16 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%s: more than %d bytes", name, most)
	}
	return b, err
}

// blocklist is the file of what does not count.
type blocklist struct {
	Agents    []*regexp.Regexp
	Referrers []*regexp.Regexp
	IPs       []netip.Prefix
	Internal  []netip.Prefix // one's own networks
	ASNs      map[uint32]bool
	ASNRates  []serve.Rate
}

func readBlocklist(file string) (b blocklist, err error) {
	if file == "" {
		return b, nil
	}
	text, err := readFile(file)
	if err != nil {
		return b, err
	}
	var in struct {
		Agents    []string `yaml:"agents"`
		Referrers []string `yaml:"referrers"`
		IPs       []string `yaml:"ips"`
		Internal  []string `yaml:"internal_ips"`
		ASNs      []uint32 `yaml:"asns"`
		ASNRates  []string `yaml:"asn_rates"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		return b, fmt.Errorf("%s: %s", file, firstLine(yaml.FormatError(err, false, false)))
	}
	if b.Agents, err = expressions("agents", in.Agents); err != nil {
		return b, err
	}
	if b.Referrers, err = expressions("referrers", in.Referrers); err != nil {
		return b, err
	}
	if b.IPs, err = prefixes("ips", in.IPs); err != nil {
		return b, err
	}
	if b.Internal, err = prefixes("internal_ips", in.Internal); err != nil {
		return b, err
	}
	b.ASNs = map[uint32]bool{}
	for _, n := range in.ASNs {
		b.ASNs[n] = true
	}
	for _, text := range in.ASNRates {
		events, seconds, _ := strings.Cut(text, "/")
		e, err1 := strconv.Atoi(events)
		w, err2 := strconv.ParseInt(seconds, 10, 32)
		if err1 != nil || err2 != nil || e < 1 || e > 1<<20 || w < 1 {
			return b, fmt.Errorf("asn_rates: expected events/seconds, such as 100/60, not %q", text)
		}
		b.ASNRates = append(b.ASNRates, serve.Rate{Events: e, Window: w})
	}
	if len(b.ASNRates) > 4 {
		return b, fmt.Errorf("asn_rates: %d, expected at most 4", len(b.ASNRates))
	}
	return b, nil
}

func expressions(key string, list []string) (out []*regexp.Regexp, err error) {
	for _, text := range list {
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		out = append(out, re)
	}
	return out, nil
}

func prefixes(key string, list []string) (out []netip.Prefix, err error) {
	for _, text := range list {
		p, err := prefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: expected an address or CIDR, not %q", key, text)
		}
		out = append(out, p)
	}
	return out, nil
}

// prefix reads an address or a network.
func prefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// checkGeo says which geo database would be in use.
func (s *settings) checkGeo(w io.Writer) error {
	places, err := visitor.OpenPlaces(s.GeoFile)
	if err != nil {
		return fmt.Errorf("--geo-file: %w", err)
	}
	defer places.Close()
	_, err = fmt.Fprintf(w, "# geo database: %s\n", places.Describe())
	return err
}

// print says what is in force. No setting is a secret: those are in files.
func (s *settings) print(w io.Writer, parsed *kong.Context) error {
	for _, flag := range parsed.Flags() {
		if slices.Contains([]string{"help", "check", "version"}, flag.Name) {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s: %v\n", flag.Name, parsed.FlagValue(flag)); err != nil {
			return err
		}
	}
	return nil
}

// yamlFile reads the configuration file: a flat map of flags' names.
func yamlFile(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("--config: not a YAML map of flags' names: %s", firstLine(yaml.FormatError(err, false, false)))
	}
	return &fileResolver{values}, nil
}

type fileResolver struct{ values map[string]any }

// Validate refuses keys that are no flags.
func (f *fileResolver) Validate(app *kong.Application) error {
	for key := range f.values {
		known := slices.ContainsFunc(app.Flags, func(flag *kong.Flag) bool { return flag.Name == key })
		if !known || key == "config" {
			return fmt.Errorf("--config: %q is not a key; expected a flag's name", key)
		}
	}
	return nil
}

// Resolve gives the file's value of a flag that neither the command line nor
// the environment sets.
func (f *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	return f.values[flag.Name], nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// versionText is the program's version as the build has it.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, revision, dirty := info.Main.Version, "", ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			revision = setting.Value[:min(len(setting.Value), 12)]
		case "vcs.modified":
			if setting.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	return strings.Join(strings.Fields(version+" "+revision+dirty+" "+info.GoVersion), " ")
}
