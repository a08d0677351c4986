package visitor

// OS is the family of an operating system, as ua-parser names it. The numbers
// travel in tokens between nodes of different versions: append only.
type OS uint8

// Browser is the family of a browser, as ua-parser names it. Append only, too.
type Browser uint8

const (
	UnseenOS OS = iota // nobody looked
	OtherOS            // looked, and not recognized
	RareOS             // recognized, and not in the list
	firstOS
)

const (
	UnseenBrowser Browser = iota
	OtherBrowser
	RareBrowser
	firstBrowser
)

var osNames = [...]string{
	"Windows", "Mac OS X", "iOS", "Android", "Linux", "Ubuntu", "Chrome OS", "Fedora", "Debian", "FreeBSD",
	"OpenBSD", "NetBSD", "Red Hat", "SUSE", "openSUSE", "Arch Linux", "Linux Mint", "Gentoo", "CentOS", "Mageia",
	"Solaris", "KaiOS", "Tizen", "webOS", "Firefox OS", "BlackBerry OS", "BlackBerry Tablet OS", "Windows Phone", "Windows Mobile", "Symbian OS",
	"ATV OS X", "tvOS", "WatchOS", "Fuchsia", "HarmonyOS", "Sailfish", "Maemo", "MeeGo", "Bada", "Chromecast",
	"iPadOS", "Kubuntu", "Haiku", "PlayStation", "Nintendo", "Xbox",
}

var browserNames = [...]string{
	"Chrome", "Chrome Mobile", "Chrome Mobile iOS", "Chrome Mobile WebView", "Firefox", "Firefox Mobile", "Firefox iOS", "Safari", "Mobile Safari", "Mobile Safari UI/WKWebView",
	"Edge", "Edge Mobile", "Opera", "Opera Mobile", "Opera Mini", "Opera GX", "IE", "IE Mobile", "Samsung Internet", "Brave",
	"Vivaldi", "Yandex Browser", "DuckDuckGo Mobile", "DuckDuckGo", "QQ Browser", "QQ Browser Mobile", "UC Browser", "MiuiBrowser", "Huawei Browser", "Sogou Explorer",
	"Chromium", "HeadlessChrome", "Electron", "Android", "Amazon Silk", "Whale", "Coc Coc", "Maxthon", "Pale Moon", "SeaMonkey",
	"Waterfox", "Konqueror", "Epiphany", "Falkon", "QtWebEngine", "Iceweasel", "Facebook", "Instagram", "Twitter", "LinkedIn",
	"Slack Desktop Client", "Google", "Snapchat", "Pinterest", "BlackBerry WebKit", "Firefox Focus", "Puffin", "Dolphin", "Ecosia iOS", "Ecosia Android",
}

var osIDs = func() map[string]OS {
	m := map[string]OS{"Other": OtherOS, "": OtherOS}
	for i, name := range osNames {
		m[name] = firstOS + OS(i)
	}
	return m
}()

var browserIDs = func() map[string]Browser {
	m := map[string]Browser{"Other": OtherBrowser, "": OtherBrowser}
	for i, name := range browserNames {
		m[name] = firstBrowser + Browser(i)
	}
	return m
}()

func osOf(family string) OS {
	if id, ok := osIDs[family]; ok {
		return id
	}
	return RareOS
}

func browserOf(family string) Browser {
	if id, ok := browserIDs[family]; ok {
		return id
	}
	return RareBrowser
}

// String is the family's name, "Other" where it is not known.
func (o OS) String() string {
	switch {
	case o == RareOS:
		return "Rare"
	case o >= firstOS && int(o-firstOS) < len(osNames):
		return osNames[o-firstOS]
	}
	return "Other"
}

// String is the family's name, "Other" where it is not known.
func (b Browser) String() string {
	switch {
	case b == RareBrowser:
		return "Rare"
	case b >= firstBrowser && int(b-firstBrowser) < len(browserNames):
		return browserNames[b-firstBrowser]
	}
	return "Other"
}
