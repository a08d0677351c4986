//go:build race

package serve

// raceOn: the race detector makes sync.Pool forget at random.
const raceOn = true
