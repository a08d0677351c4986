//go:build linux

package wan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Place is where a region is, in degrees.
type Place struct{ Lat, Lon float64 }

// Places are the regions that the world knows.
var Places = map[string]Place{
	"us-east":      {39.0, -77.5},
	"us-west":      {45.6, -121.2},
	"eu-west":      {53.3, -6.3},
	"eu-central":   {50.1, 8.7},
	"ap-south":     {19.1, 72.9},
	"ap-southeast": {1.35, 103.8},
	"ap-northeast": {35.7, 139.7},
	"sa-east":      {-23.5, -46.6},
}

const (
	earthRadiusKm = 6371.0
	// Light in fibre goes 200 km in a millisecond; cables are longer than the
	// great circle. 1.4 puts the pairs of Places near the medians that cloud
	// providers publish (us-east to eu-west about 75 ms round trip, us-east to
	// ap-southeast about 220 ms).
	fibreKmPerMs = 200.0
	detour       = 1.4
	lastMile     = time.Millisecond
)

// Distant is the link between two places: its delay follows the great circle.
func Distant(a, b Place) Link {
	rad := math.Pi / 180
	dLat, dLon := (b.Lat-a.Lat)*rad, (b.Lon-a.Lon)*rad
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Pow(math.Sin(dLon/2), 2)
	km := 2 * earthRadiusKm * math.Asin(math.Min(1, math.Sqrt(h)))
	delay := lastMile + time.Duration(km*detour/fibreKmPerMs*float64(time.Millisecond))
	return Link{Delay: delay, Jitter: delay / 50}
}

// Known are the names of the Places, in order.
func Known() []string { return slices.Sorted(maps.Keys(Places)) }

// Between is Distant by the names of two Places.
func Between(a, b string) (Link, error) {
	pa, ok := Places[a]
	if !ok {
		return Link{}, fmt.Errorf("no place is known by the name %q", a)
	}
	pb, ok := Places[b]
	if !ok {
		return Link{}, fmt.Errorf("no place is known by the name %q", b)
	}
	return Distant(pa, pb), nil
}
