package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"nearside/core/authority"
	"nearside/core/postgres"
	"nearside/core/postgres/query"
	"nearside/sync/trust"
)

type caCommand struct {
	Init     caInitCommand     `cmd:"" help:"Make an authority in --tls-dir, where there is none."`
	List     caListCommand     `cmd:"" help:"List the authorities, and the credentials of the nodes."`
	Rollover caRolloverCommand `cmd:"" help:"Do the next step of replacing the authority: trust the next one, let it sign, forget the former."`
	Revoke   caRevokeCommand   `cmd:"" help:"End a node's credential: no core answers it any more, until it registers anew with a join token."`
}

// directory is the TLS directory, which these commands need.
func (e *env) directory() (string, error) {
	if e.settings.TLSDir == "" {
		return "", configError{errors.New("--tls-dir: expected, since the authority is there")}
	}
	return e.settings.TLSDir, nil
}

type caInitCommand struct {
	Name string `help:"What the authority is called in its certificate." default:"nearside" placeholder:"NAME"`
}

func (c caInitCommand) Run(e *env) error {
	dir, err := e.directory()
	if err != nil {
		return err
	}
	cert, err := authority.Init(dir, c.Name, time.Now())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "made the authority %s in %s; give every node its ca.pem, and keep ca.key\n", trust.Fingerprint(cert), dir)
	return err
}

type caListCommand struct{}

func (caListCommand) Run(e *env) error {
	dir, err := e.directory()
	if err != nil {
		return err
	}
	roots, list, err := authority.List(dir)
	if err != nil {
		return err
	}
	return e.database(func(db *postgres.DB) error {
		nodes, err := db.Queries().ListCredentials(e.ctx)
		if err != nil {
			return err
		}
		out := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(out, "AUTHORITY\tNAME\tEXPIRES\tIT")
		for _, l := range list {
			does := "is trusted"
			switch {
			case l.Signs:
				does = "signs"
			case l.Next:
				does = "signs next"
			}
			_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", trust.Fingerprint(l.Cert), l.Cert.Subject.CommonName, when(&l.Cert.NotAfter), does)
		}
		_, _ = fmt.Fprintln(out, "\nHOLDER\tREGION\tNODE\tSTATE\tSEEN\tISSUED\tEXPIRES\tSIGNED BY\tGOES BY")
		for _, n := range nodes {
			_, _ = fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.ID, n.Region, n.Node, n.State, when(&n.SeenAt),
				when(n.IssuedAt), when(n.ExpiresAt), orNone(n.Authority), goesBy(roots, &n))
		}
		return out.Flush()
	})
}

// goesBy says what a node was last heard to trust.
func goesBy(roots *trust.Roots, n *query.ListCredentialsRow) string {
	switch {
	case n.Revoked:
		return "revoked"
	case len(n.Trust) == 0:
		return "-"
	case string(n.Trust) == string(roots.Sum[:]):
		return "these"
	}
	return "others"
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

type caRolloverCommand struct {
	Name  string `help:"What the next authority is called in its certificate." default:"nearside" placeholder:"NAME"`
	Force bool   `help:"Do it though some nodes have not taken the step before: they will have to be given the new ca.pem by hand."`
}

func (c caRolloverCommand) Run(e *env) error {
	dir, err := e.directory()
	if err != nil {
		return err
	}
	roots, list, err := authority.List(dir)
	if err != nil {
		return err
	}
	if step := authority.Next(list); step != authority.Trust && !c.Force {
		err := e.database(func(db *postgres.DB) error {
			late, err := behind(e, db, roots, step)
			if err == nil && len(late) > 0 {
				err = fmt.Errorf("these nodes have not taken the step before: %s; wait for them, or end them, or --force", strings.Join(late, ", "))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	step, err := authority.Rollover(dir, c.Name, time.Now())
	if err != nil {
		return err
	}
	said := map[authority.Step]string{
		authority.Trust:  "the next authority is trusted; give every core these files, wait until ca list says that every node goes by these, then run this again",
		authority.Sign:   "the next authority signs; give every core these files, wait until ca list says that every node goes by these, then run this again",
		authority.Forget: "the former authority is forgotten; give every core these files, and new nodes the new ca.pem",
	}[step]
	_, err = fmt.Fprintln(e.stdout, said)
	return err
}

// behind names the nodes that are not where the step wants them.
func behind(e *env, db *postgres.DB, roots *trust.Roots, step authority.Step) (late []string, err error) {
	nodes, err := db.Queries().ListCredentials(e.ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.State != "open" || n.Revoked || n.Authority == "" {
			continue
		}
		signed := n.Authority == trust.Fingerprint(roots.Certs[0])
		if goesBy(roots, &n) != "these" || step == authority.Forget && !signed {
			late = append(late, fmt.Sprintf("%s/%s (holder %d)", n.Region, n.Node, n.ID))
		}
	}
	return late, nil
}

type caRevokeCommand struct {
	Holder int32 `arg:"" help:"The holder's number in ca list."`
}

func (c caRevokeCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		n, err := db.Queries().RevokeCredential(e.ctx, c.Holder)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("there is no holder %d", c.Holder)
		}
		if err := db.Queries().InsertAudit(e.ctx, query.InsertAuditParams{
			Actor: actor, Action: "revoke", Resource: fmt.Sprintf("holders/%d", c.Holder), Detail: json.RawMessage("{}"),
		}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "holder %d is answered no more; what it holds stays set aside until it is fenced and closed\n", c.Holder)
		return err
	})
}
