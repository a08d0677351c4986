package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/valyala/fasthttp"
)

// headers are those of the edge's answers, so that both send as many bytes.
var headers = []struct{ name, value []byte }{
	{[]byte("Cache-Control"), []byte("no-store")},
	{[]byte("X-Content-Type-Options"), []byte("nosniff")},
	{[]byte("Server-Timing"), []byte("decide;dur=0.010")},
}

// Bare serves a fixed body of so many bytes, with the headers of the edge's
// answers, on a free port, which it prints: the baseline of the edge's figures.
// It returns when ctx ends.
func Bare(ctx context.Context, size int, stdout io.Writer) error {
	body := bytes.Repeat([]byte{'x'}, size)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if _, err := fmt.Fprintln(stdout, "listening", l.Addr()); err != nil {
		return fmt.Errorf("say where: %w", err)
	}
	srv := &fasthttp.Server{
		Handler: func(req *fasthttp.RequestCtx) {
			req.SetContentType("application/json")
			for i := range headers {
				req.Response.Header.SetCanonical(headers[i].name, headers[i].value)
			}
			req.SetBody(body)
		},
		CloseOnShutdown:       true,
		NoDefaultServerHeader: true,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		err := srv.Shutdown()
		return errors.Join(err, <-failed)
	}
}
