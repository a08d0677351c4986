package visitor

import (
	"bytes"
	_ "embed"
	"fmt"
	"hash/maphash"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/ua-parser/uap-go/uaparser"
)

// maxAgent is how many bytes of a user agent count. The time to parse grows
// with the length, and real browsers stay below it.
const maxAgent = 256

// maxAgents is how many judgements are kept.
const maxAgents = 1 << 16

// Agent is the judgement of a user agent.
type Agent struct {
	OS      OS
	Browser Browser
	Mobile  bool // a phone; the rules of the user_agents library
	Tablet  bool
	Bot     bool
}

// Recognized reports whether both families are known: what is not is a proxy, a
// prefetcher or a script more often than a reader.
func (a Agent) Recognized() bool { return a.OS > OtherOS && a.Browser > OtherBrowser }

// Agents judges user agents. Close releases it.
type Agents struct {
	parser   *uaparser.Parser
	crawlers crawlers
	cache    *ristretto.Cache[uint64, *kept[Agent]]
	recent   recent[Agent]
	seed     maphash.Seed // so that nobody outside can make two agents collide
	budget   budget
}

// NewAgents compiles the rules, which takes some hundred milliseconds.
func NewAgents() (*Agents, error) {
	parser, err := uaparser.New(uaparser.WithCacheSize(1)) // ours is the cache
	if err != nil {
		return nil, fmt.Errorf("user agent rules: %w", err)
	}
	list, err := parseCrawlers(crawlerList)
	if err != nil {
		return nil, err
	}
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *kept[Agent]]{
		NumCounters: 10 * maxAgents, MaxCost: maxAgents, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("user agent cache: %w", err)
	}
	return &Agents{
		parser: parser, crawlers: list, cache: cache, seed: maphash.MakeSeed(),
		budget: newBudget(),
	}, nil
}

// Close stops the cache.
func (a *Agents) Close() { a.cache.Close() }

// Of judges a user agent. The zero Agent says that nobody looked: there was
// none, or the processor time for unseen ones is spent.
func (a *Agents) Of(ua []byte, now time.Time) Agent {
	ua = bytes.TrimSpace(ua[:min(len(ua), maxAgent)])
	if len(ua) == 0 {
		return Agent{}
	}
	key := maphash.Bytes(a.seed, ua)
	if k := a.recent.get(key); k != nil {
		return k.value
	}
	if k, ok := a.cache.Get(key); ok {
		a.recent.put(k)
		return k.value
	}
	if !a.budget.take(now) {
		return Agent{}
	}
	k := &kept[Agent]{key: key}
	a.budget.spend(processorTime(func() { k.value = a.judge(string(ua)) }))
	a.cache.Set(key, k, 1)
	a.recent.put(k)
	return k.value
}

func (a *Agents) judge(ua string) Agent {
	browser := a.parser.ParseUserAgent(ua)
	os := a.parser.ParseOs(ua)
	device := a.parser.ParseDevice(ua)
	agent := Agent{OS: osOf(os.Family), Browser: browserOf(browser.Family)}
	agent.Tablet = isTablet(ua, os, browser.Family, device.Family)
	agent.Mobile = isMobile(ua, os.Family, browser.Family, device.Family, agent.Tablet)
	agent.Bot = device.Family == "Spider" || strings.Contains(strings.ToLower(ua), "bot") ||
		strings.Contains(strings.ToLower(browser.Family), "bot") || a.crawlers.match(ua)
	return agent
}

// The two functions below say what the user_agents library for Python says,
// since that is what publishers' reports were made with.

func isTablet(ua string, os *uaparser.Os, browser, device string) bool {
	switch device {
	case "iPad", "BlackBerry Playbook", "Blackberry Playbook", "Kindle", "Kindle Fire", "Kindle Fire HD",
		"Galaxy Tab", "Xoom", "Dell Streak":
		return true
	}
	switch os.Family {
	case "Android":
		return !strings.Contains(ua, "Mobile Safari") && browser != "Firefox Mobile"
	case "Windows":
		return strings.HasPrefix(os.Major, "RT")
	case "Firefox OS":
		return !strings.Contains(browser, "Mobile")
	}
	return false
}

func isMobile(ua, os, browser, device string, tablet bool) bool {
	switch device {
	case "iPhone", "iPod", "Generic Smartphone", "Generic Feature Phone", "PlayStation Vita", "iOS-Device":
		return true
	}
	switch browser {
	case "IE Mobile", "Opera Mobile", "Opera Mini", "Chrome Mobile", "Chrome Mobile WebView", "Chrome Mobile iOS":
		return true
	}
	switch os {
	case "Android", "Firefox OS":
		if !tablet {
			return true
		}
	case "BlackBerry OS":
		if device != "Blackberry Playbook" {
			return true
		}
	case "Windows Phone", "Windows Phone OS", "Symbian OS", "Bada", "Windows CE", "Windows Mobile", "Maemo":
		return true
	}
	mobile := strings.Contains(ua, "Mobile")
	return strings.Contains(ua, "J2ME") || strings.Contains(ua, "MIDP") || strings.Contains(ua, "iPhone;") ||
		mobile && strings.Contains(ua, "Googlebot-Mobile") ||
		device == "Spider" && strings.Contains(browser, "Mobile") ||
		mobile && strings.Contains(ua, "NokiaBrowser")
}

//go:embed data/crawlers.txt
var crawlerList string

// crawlers are patterns of known crawlers. Most are plain words; a search for
// them is far cheaper than a regular expression.
type crawlers struct {
	words   []string
	regexps []*regexp.Regexp
}

func parseCrawlers(list string) (crawlers, error) {
	var c crawlers
	for line := range strings.Lines(list) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		tree, err := syntax.Parse(line, syntax.Perl)
		if err != nil {
			return c, fmt.Errorf("crawler pattern %q: %w", line, err)
		}
		if tree = tree.Simplify(); tree.Op == syntax.OpLiteral && tree.Flags&syntax.FoldCase == 0 {
			c.words = append(c.words, string(tree.Rune))
			continue
		}
		re, err := regexp.Compile(line)
		if err != nil {
			return c, fmt.Errorf("crawler pattern %q: %w", line, err)
		}
		c.regexps = append(c.regexps, re)
	}
	return c, nil
}

func (c *crawlers) match(ua string) bool {
	for _, w := range c.words {
		if strings.Contains(ua, w) {
			return true
		}
	}
	for _, re := range c.regexps {
		if re.MatchString(ua) {
			return true
		}
	}
	return false
}

// budget is processor time for unseen agents: it fills at share of one
// processor up to burst.
type budget struct {
	mu    sync.Mutex
	left  time.Duration
	asked time.Time
}

const (
	budgetShare = 4 // a quarter
	budgetBurst = 500 * time.Millisecond
)

func newBudget() budget { return budget{left: budgetBurst} }

// take reports whether there is time left.
func (b *budget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.asked.IsZero() && now.After(b.asked) {
		b.left = min(b.left+now.Sub(b.asked)/budgetShare, budgetBurst)
	}
	if now.After(b.asked) {
		b.asked = now
	}
	return b.left > 0
}

func (b *budget) spend(d time.Duration) {
	b.mu.Lock()
	b.left = max(b.left-d, -budgetBurst)
	b.mu.Unlock()
}
