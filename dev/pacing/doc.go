// Package pacing plays a day of 200 flights, second by second, and measures how
// far delivery is from plan. What decides and spends is the code that ships: the
// compiled catalog and its decisions (edge/decision), edge/keeper with a holder's
// steps and its journal, and core/ledger, exchanging every second.
//
// # The day
//
// It begins at noon UTC, so that flights end and begin at the midnight in the
// middle of it. Three regions of three nodes each have readers who wake and sleep
// by their own sun: four requests in the afternoon for each one before dawn, from
// 240 kinds of page and reader a region, arriving by chance (Poisson). An offer is
// viewed at its flight's rate, between 0.3 s and some seconds later, and clicked at
// another.
//
// Flights sell from 1 000 to 1 000 000 views or clicks over 1 to 24 days, even, by
// traffic or asap, in intervals from a minute to a day; three in five are
// targeted by country, keyword, device or publisher. What a flight is there for is
// its Class, and that is settled before the day is run: a Served flight's plan
// takes at most a tenth of its readers at any hour, and all plans together at
// most six tenths of a region's. The verdict is about those. Flights with too few
// readers, that compete for them, go live late or are changed at noon are shown,
// not judged.
//
// # What is left out
//
// HTTP, tokens (beacons name the claims that they would carry), the wire's
// encoding, gossip and brokers, frequency caps, daily caps. Journals are on
// disks in memory. A keeper ticks once a second instead of ten times; a reply of
// the core comes at the end of the second in which it was asked. What others have
// delivered is thus known one to two seconds late, as over an ocean.
//
// A run is a function of its Options, whatever the number of Workers.
package pacing
