package admin

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The page at /docs is Stoplight Elements 9.0.25 (Apache-2.0), packed; the
// licences are beside it.
//
//go:embed docs/index.html docs/elements.js.gz docs/elements.css.gz
var docs embed.FS

// docsPolicy lets the page load from this host alone, whatever its script
// would like. It makes functions out of schemas, hence unsafe-eval.
const docsPolicy = "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsRooms serves the page that shows the API's description and tries it.
func (a *API) docsRooms() {
	for path, file := range map[string]struct{ name, kind string }{
		"/docs":              {"docs/index.html", "text/html; charset=utf-8"},
		"/docs/elements.js":  {"docs/elements.js.gz", "text/javascript; charset=utf-8"},
		"/docs/elements.css": {"docs/elements.css.gz", "text/css; charset=utf-8"},
	} {
		content := must(docs.ReadFile(file.name))
		packed := strings.HasSuffix(file.name, ".gz")
		a.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			header := w.Header()
			header.Set("Content-Security-Policy", docsPolicy)
			header.Set("Content-Type", file.kind)
			header.Set("Cache-Control", "max-age=3600")
			header.Set("Vary", "Accept-Encoding")
			switch {
			case !packed:
				header.Set("Content-Length", strconv.Itoa(len(content)))
				_, _ = w.Write(content) // who went away needs no page
			case acceptsGzip(r.Header.Get("Accept-Encoding")):
				header.Set("Content-Encoding", "gzip")
				header.Set("Content-Length", strconv.Itoa(len(content)))
				_, _ = w.Write(content)
			default:
				plain := must(gzip.NewReader(bytes.NewReader(content)))
				_, _ = io.Copy(w, plain)
			}
		})
	}
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(coding, "gzip") {
			return strings.ReplaceAll(quality, " ", "") != "q=0"
		}
	}
	return false
}
