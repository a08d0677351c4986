package decision

import (
	"sync/atomic"

	"nearside/sync/catalog"
)

// Types is a set of campaign types.
type Types uint8

// AllTypes is every campaign type.
const AllTypes Types = 1<<(catalog.House+1) - 1

// TypesOf is the set of the given types.
func TypesOf(types ...catalog.CampaignType) Types {
	var t Types
	for _, x := range types {
		t |= 1 << x
	}
	return t
}

// Has reports whether x is in t.
func (t Types) Has(x catalog.CampaignType) bool { return t&(1<<x) != 0 }

// Placement is a slot on the page.
type Placement struct {
	DivID    string
	AdType   string // slug; one that is unknown matches no ad
	Priority int    // 1 to 10; what is outside counts as the nearest
}

// Known remembers what the newest catalog that was asked calls the keywords of
// requests that all have the same.
type Known struct{ last atomic.Pointer[knownIn] }

type knownIn struct {
	catalog uint64 // its number
	numbers []uint32
}

// Request is one ad request as the edge understood it. Decisions only read it,
// and keep none of its strings, which may therefore alias a connection's
// buffers.
type Request struct {
	Publisher      *Publisher
	Placements     []Placement
	Keywords       []string // as asked, in any case
	Known          *Known   // of Keywords where they are the same each time; may be nil
	CampaignTypes  Types    // 0: all
	URL            string   // of the page, "" if not known
	Host           string   // of URL, with its port if it has one
	Country        [2]byte  // upper case; zero if not known
	State          [3]byte  // state or province: the part of ISO 3166-2 after the country, padded with zeros; zero if not known
	Metro          int32    // metro code, 0 if not known
	Mobile         bool
	PlacementIndex int
	ForceAd        string // slug
	ForceCampaign  string // slug

	// Capped are flights that this client has seen often enough, Taken
	// advertisers that are on this page already; both usually empty. Alone is
	// the roadblock that the page belongs to: nobody else is offered, 0 for none.
	Capped []uint32
	Taken  []uint32
	Alone  uint32
}

// restricted reports whether client or page have had something already.
func (r *Request) restricted() bool { return len(r.Capped)+len(r.Taken) > 0 || r.Alone != 0 }

// Outcome is a decision. Its pointers belong to the catalog and stay valid.
type Outcome struct {
	Filled    bool
	Forced    bool // by ForceAd or ForceCampaign
	Flight    *Flight
	Ad        *Ad
	Placement int    // index into Request.Placements
	Weight    int64  // of the flight; 0 if forced
	Total     int64  // of all flights it was drawn from
	Reason    Reason // why not filled
}

// Refusal says that a flight which would otherwise have matched was refused.
type Refusal struct {
	Flight *Flight
	Reason Reason
}
