package serve

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// BenchmarkDecision is one decision inside the handler, without the socket.
func BenchmarkDecision(b *testing.B) {
	for name, query := range map[string]string{
		"filled": "publisher=open&div_ids=ad-div&ad_types=image-v1&keywords=python|docker|web&campaign_types=paid|community|house&url=https://docs.example.com/en/latest/",
		"jsonp":  ask1 + "&format=jsonp&callback=ad_1718000000",
		"sticky": "publisher=sticky&div_ids=a&ad_types=image-v1",
		"empty":  "publisher=open&div_ids=a&ad_types=text-v1",
	} {
		b.Run(name, func(b *testing.B) {
			s := newBenchServer(b)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ctx := &fasthttp.RequestCtx{}
				uri := decisionPath + "?" + query
				for pb.Next() {
					ctx.Request.Reset()
					ctx.Response.Reset()
					ctx.Request.SetRequestURI(uri)
					ctx.Request.Header.SetHost("ads.example.com")
					ctx.Request.Header.SetUserAgent(chrome)
					ctx.Request.Header.Set("X-Forwarded-For", american)
					s.Handle(ctx)
					if len(ctx.Response.Body()) < 100 != (name == "empty") {
						b.Errorf("%s", ctx.Response.Body())
						return
					}
				}
			})
		})
	}
}

func newBenchServer(b *testing.B) *Server {
	b.Helper()
	cfg := config()
	cfg.DebugHeaders = false
	// The clock runs, from a day on which the sample's flights are on.
	began := time.Now()
	cfg.Now = func() time.Time { return noon.Add(time.Since(began)) }
	s, err := New(cfg, newJudge(b), silentTally{}, who, func() bool { return true })
	if err != nil {
		b.Fatal(err)
	}
	c, err := compile(newBooks())
	if err != nil {
		b.Fatal(err)
	}
	s.Apply(c)
	b.Cleanup(s.Close)
	return s
}
