package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"nearside/core/admin"
	"nearside/core/ledger"
	"nearside/core/postgres"
	"nearside/core/postgres/query"
)

// actor is who the audit log names for what is done on the command line.
const actor = "command line"

// database opens the truth for the duration of f.
func (e *env) database(f func(db *postgres.DB) error) error {
	db, err := postgres.Open(e.ctx, e.settings.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	return f(db)
}

func (e *env) admin(f func(api *admin.API) error) error {
	return e.database(func(db *postgres.DB) error {
		return f(admin.New(db, admin.Options{Version: versionText(), Log: e.log}))
	})
}

type migrateCommand struct{}

func (migrateCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error { return db.Migrate(e.ctx) })
}

type tokenCommand struct {
	Create tokenCreateCommand `cmd:"" help:"Make a token and print it; it is said only here."`
	List   tokenListCommand   `cmd:"" help:"List the tokens, without their text."`
	Revoke tokenRevokeCommand `cmd:"" help:"End a token."`
}

type tokenCreateCommand struct {
	Role      string `help:"What it may do: ${enum}." enum:"admin,viewer,publisher" required:""`
	Name      string `help:"What it is for; the audit log names it." default:"made on the command line"`
	Publisher string `help:"Slug of the publisher whose decisions it may ask for; with --role publisher." placeholder:"SLUG"`
}

func (c tokenCreateCommand) Run(e *env) error {
	return e.admin(func(api *admin.API) error {
		text, _, err := api.CreateToken(e.ctx, actor, admin.Token{Name: c.Name, Role: c.Role, Publisher: c.Publisher})
		if err != nil {
			return admin.Explain(err)
		}
		_, err = fmt.Fprintln(e.stdout, text)
		return err
	})
}

type tokenListCommand struct{}

func (tokenListCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		out := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(out, "ID\tROLE\tPUBLISHER\tCREATED\tREVOKED\tNAME")
		for after := int32(0); ; {
			tokens, err := db.Queries().ListTokens(e.ctx, after, 500)
			if err != nil {
				return err
			}
			if len(tokens) == 0 {
				return out.Flush()
			}
			for _, t := range tokens {
				after = t.ID
				publisher := "-"
				if t.Publisher != nil {
					publisher = *t.Publisher
				}
				_, _ = fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Role, publisher, when(&t.CreatedAt), when(t.RevokedAt), t.Name)
			}
		}
	})
}

type tokenRevokeCommand struct {
	ID int32 `arg:"" help:"The token's number in the list."`
}

func (c tokenRevokeCommand) Run(e *env) error {
	return e.admin(func(api *admin.API) error { return admin.Explain(api.RevokeToken(e.ctx, actor, c.ID)) })
}

type joinTokenCommand struct {
	Create joinTokenCreateCommand `cmd:"" help:"Make a token with which edges join, and print it; it is said only here."`
	List   joinTokenListCommand   `cmd:"" help:"List the tokens, without their text."`
	Revoke joinTokenRevokeCommand `cmd:"" help:"End a token; edges that have joined stay."`
}

type joinTokenCreateCommand struct {
	Name    string        `help:"What it is for." default:"made on the command line"`
	Region  string        `help:"The one region whose nodes may join with it; without, any." placeholder:"NAME"`
	Expires time.Duration `help:"After how long it ends; 0: never. Edges that have joined stay." default:"0" placeholder:"DURATION"`
}

func (c joinTokenCreateCommand) Run(e *env) error {
	if c.Region != "" && !ledger.GoodName(c.Region) {
		return configError{errors.New("--region: expected 1 to 63 of a-z, 0-9, dot and hyphen")}
	}
	if c.Expires < 0 {
		return configError{errors.New("--expires: expected 0 or more")}
	}
	return e.database(func(db *postgres.DB) error {
		var expires *time.Time
		if c.Expires > 0 {
			at := time.Now().Add(c.Expires)
			expires = &at
		}
		text, hash := admin.NewSecret()
		if _, err := db.Queries().InsertJoinToken(e.ctx, query.InsertJoinTokenParams{Name: c.Name, Hash: hash, Region: c.Region, ExpiresAt: expires}); err != nil {
			return fmt.Errorf("create a join token: %w", err)
		}
		_, err := fmt.Fprintln(e.stdout, text)
		return err
	})
}

type joinTokenListCommand struct{}

func (joinTokenListCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		tokens, err := db.Queries().ListJoinTokens(e.ctx)
		if err != nil {
			return err
		}
		out := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(out, "ID\tREGION\tCREATED\tEXPIRES\tREVOKED\tUSES\tLAST USED\tNAME")
		for _, t := range tokens {
			_, _ = fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", t.ID, cmp.Or(t.Region, "any"),
				when(&t.CreatedAt), when(t.ExpiresAt), when(t.RevokedAt), t.Uses, when(t.UsedAt), t.Name)
		}
		return out.Flush()
	})
}

type joinTokenRevokeCommand struct {
	ID int32 `arg:"" help:"The token's number in the list."`
}

func (c joinTokenRevokeCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		n, err := db.Queries().RevokeJoinToken(e.ctx, c.ID)
		if err == nil && n == 0 {
			return fmt.Errorf("there is no join token %d that is not revoked", c.ID)
		}
		return err
	})
}

type importCommand struct {
	File string `arg:"" help:"YAML or JSON document; - for the standard input." placeholder:"FILE"`
}

func (c importCommand) Run(e *env) error {
	document, err := c.read(e.stdin)
	if err != nil {
		return err
	}
	return e.admin(func(api *admin.API) error {
		done, err := api.Import(e.ctx, actor, document)
		if err != nil {
			return fmt.Errorf("import %s: %w", c.File, admin.Explain(err))
		}
		_, err = fmt.Fprintf(e.stdout, "created %d, changed %d, unchanged %d; catalog version %d\n",
			done.Created, done.Changed, done.Unchanged, done.CatalogVersion)
		return err
	})
}

func (c importCommand) read(stdin io.Reader) ([]byte, error) {
	from := stdin
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		from = file
	}
	document, err := io.ReadAll(io.LimitReader(from, admin.MaxImport+1))
	if err == nil && len(document) > admin.MaxImport {
		err = fmt.Errorf("%s is larger than %d bytes", c.File, admin.MaxImport)
	}
	return document, err
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
