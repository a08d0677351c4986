package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/postgres"
)

// maxFaults bounds what one answer lists.
const maxFaults = 20

// faults collects what is wrong with one document, each with its place.
type faults struct {
	at   string // what comes before every place, "body" or "flights[3]"
	list []error
}

// add says what was expected of the field at path and, where it is short, what
// was found.
func (f *faults) add(path string, found any, format string, args ...any) {
	if len(f.list) >= maxFaults {
		return
	}
	at := f.at
	if path != "" {
		at += "." + path
	}
	f.list = append(f.list, &huma.ErrorDetail{Message: fmt.Sprintf(format, args...), Location: at, Value: short(found)})
}

// problem is nil where nothing was added.
func (f *faults) problem() error {
	if len(f.list) == 0 {
		return nil
	}
	return huma.Error422UnprocessableEntity("validation failed", f.list...)
}

// short is v where it is worth repeating to the caller.
func short(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > 100 {
			return v[:100] + "…"
		}
		return v
	case bool, float64, int, int64, int32:
		return v
	}
	return nil
}

func notFound(what, slug string) error {
	return huma.Error404NotFound(fmt.Sprintf("there is no %s %q", what, short(slug)))
}

// answerable turns err into something that may be answered: problems as they
// are, everything else as a bare 500 or 503 after it was logged.
func (a *API) answerable(ctx context.Context, operation string, err error) error {
	var problem huma.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &problem):
		return err
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return huma.NewError(499, "the client went away")
	case postgres.IsAway(err) || errors.Is(err, context.DeadlineExceeded):
		a.log.Warn("the database is away", "operation", operation, "error", err)
		return huma.ErrorWithHeaders(
			huma.Error503ServiceUnavailable("the database cannot be reached; nothing was changed, try again"),
			http.Header{"Retry-After": {"1"}})
	}
	a.log.Error("admin request failed", "operation", operation, "error", err)
	return huma.Error500InternalServerError("something went wrong inside; the log of the core says what")
}
