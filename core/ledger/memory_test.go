package ledger_test

import (
	"testing"

	"pgregory.net/rapid"

	"nearside/core/ledger"
	"nearside/core/ledger/ledgertest"
	"nearside/sync/lease"
)

func memory(testing.TB) ledgertest.Fixture {
	m := ledger.NewMemory()
	return ledgertest.Fixture{
		Store:     m,
		SetBudget: func(id lease.Budget, asked int64) { m.SetBudget(id, asked, 1) },
		SetCap:    m.SetCap,
		Kill:      m.Kill,
		AllowJoin: m.AllowJoinTo,
		Dump:      m.Dump,
		Restore:   m.Restore,
	}
}

func TestMemory(t *testing.T) { ledgertest.Run(t, memory) }

func TestSchedules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { ledgertest.Schedule(rt, memory(t)) })
}
