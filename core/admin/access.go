package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/postgres"
	"nearside/core/postgres/query"
)

// Roles of a token.
const (
	RoleAdmin     = "admin"
	RoleViewer    = "viewer"
	RolePublisher = "publisher"
)

// principal is who asks.
type principal struct {
	token int32
	name  string
	role  string
}

func (p principal) String() string { return fmt.Sprintf("token %d %s", p.token, p.name) }

type principalKey struct{}

// asker is who asks; every handler runs after authenticate.
func asker(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}

// A token is 256 random bits behind a prefix, by which a scanner for secrets
// finds one that has leaked.
const (
	tokenPrefix = "nearside_"
	tokenBytes  = 32
)

// NewSecret makes the text of a token, which is said once, and what is kept.
func NewSecret() (text string, hash []byte) {
	var random [tokenBytes]byte
	_, _ = rand.Read(random[:]) // never fails, says its documentation
	text = tokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return text, Hash(text)
}

// Hash is what is kept of a token.
func Hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// authenticate lets in who has a token with a role that may do this. It runs
// before anything else of the request is read.
func (a *API) authenticate(ctx huma.Context, next func(huma.Context)) {
	refuse := func(status int, message string) {
		switch status {
		case http.StatusUnauthorized:
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="nearside"`)
		case http.StatusServiceUnavailable:
			ctx.SetHeader("Retry-After", "1")
		}
		_ = huma.WriteErr(a.huma, ctx, status, message)
	}
	text, ok := bearer(ctx.Header("Authorization"))
	if !ok {
		refuse(http.StatusUnauthorized, "expected the header Authorization: Bearer, with a token that nearside-core token create or POST /v1/tokens has said")
		return
	}
	hash := Hash(text)
	token, err := a.db.Queries().TokenByHash(ctx.Context(), hash)
	if postgres.IsMissing(err) {
		refuse(http.StatusUnauthorized, "the token is not known or was revoked")
		return
	}
	if err != nil {
		var problem huma.StatusError
		errors.As(a.answerable(ctx.Context(), "authenticate", err), &problem) // every answer is one
		refuse(problem.GetStatus(), problem.Error())
		return
	}
	// The row was found by an index; the bytes are compared in constant time.
	if subtle.ConstantTimeCompare(token.Hash, hash) != 1 {
		refuse(http.StatusUnauthorized, "the token is not known or was revoked")
		return
	}
	switch token.Role {
	case RoleAdmin:
	case RoleViewer:
		if method := ctx.Method(); method != http.MethodGet && method != http.MethodHead {
			refuse(http.StatusForbidden, "a viewer's token may only read")
			return
		}
	default:
		refuse(http.StatusForbidden, "this token is for asking edges for decisions, not for the admin API")
		return
	}
	next(huma.WithValue(ctx, principalKey{}, principal{token: token.ID, name: token.Name, role: token.Role}))
}

// bearer is the token of an Authorization header, if it can be one of ours:
// what cannot does not reach the database.
func bearer(header string) (string, bool) {
	scheme, text, _ := strings.Cut(header, " ")
	text = strings.TrimSpace(text)
	random, ours := strings.CutPrefix(text, tokenPrefix)
	return text, ours && len(random) == base64.RawURLEncoding.EncodedLen(tokenBytes) && strings.EqualFold(scheme, "Bearer")
}

// Token is who may ask for what.
type Token struct {
	Name      string `json:"name" minLength:"1" maxLength:"200" doc:"What it is for; written into the audit log." example:"deploys"`
	Role      string `json:"role" enum:"admin,viewer,publisher" doc:"admin may do everything, viewer may read everything, publisher may ask edges for one publisher's decisions."`
	Publisher string `json:"publisher" required:"false" doc:"Slug of the publisher whose decisions it may ask for; with role publisher only."`
}

// check says what is wrong with t and finds its publisher.
func (t *Token) check(ctx context.Context, q *query.Queries, f *faults) (*int32, error) {
	if t.Role != RolePublisher {
		if t.Publisher != "" {
			f.add("publisher", t.Publisher, "expected none with role %s", t.Role)
		}
		return nil, nil
	}
	if t.Publisher == "" {
		f.add("publisher", nil, "expected the slug of a publisher with role publisher")
		return nil, nil
	}
	id, err := reference(ctx, f, "publisher", "a publisher", q.PublishersBySlug, t.Publisher)
	return &id, err
}

// CreateToken makes a token; actor is written into the audit log. The text is
// said here and kept nowhere.
func (a *API) CreateToken(ctx context.Context, actor string, t Token) (text string, id int32, err error) {
	_, err = a.write(ctx, actor, func(w *write) error {
		text, id, err = w.createToken(t)
		return err
	})
	return text, id, err
}

func (w *write) createToken(t Token) (string, int32, error) {
	f := &faults{at: "body"}
	publisher, err := t.check(w.ctx, w.q, f)
	if err == nil {
		err = f.problem()
	}
	if err != nil {
		return "", 0, err
	}
	text, hash := NewSecret()
	row, err := w.q.InsertToken(w.ctx, query.InsertTokenParams{Name: t.Name, Hash: hash, Role: t.Role, Publisher: publisher})
	if err != nil {
		return "", 0, fmt.Errorf("create token %q: %w", t.Name, err)
	}
	if publisher != nil {
		// Edges check publishers' tokens, so the catalog carries their hashes.
		if err := w.change(); err != nil {
			return "", 0, err
		}
	}
	return text, row.ID, w.audit("create", fmt.Sprintf("tokens/%d", row.ID), map[string]any{"token": t})
}

// RevokeToken ends a token.
func (a *API) RevokeToken(ctx context.Context, actor string, id int32) error {
	_, err := a.write(ctx, actor, func(w *write) error { return w.revokeToken(id) })
	return err
}

func (w *write) revokeToken(id int32) error {
	token, err := w.q.ReadToken(w.ctx, id)
	if postgres.IsMissing(err) {
		return huma.Error404NotFound(fmt.Sprintf("there is no token %d", id))
	}
	if err != nil {
		return fmt.Errorf("revoke token %d: %w", id, err)
	}
	n, err := w.q.RevokeToken(w.ctx, id)
	if err != nil {
		return fmt.Errorf("revoke token %d: %w", id, err)
	}
	if n == 0 {
		return nil // it was revoked before
	}
	if token.Role == RolePublisher {
		if err := w.change(); err != nil {
			return err
		}
	}
	return w.audit("revoke", fmt.Sprintf("tokens/%d", id), nil)
}
