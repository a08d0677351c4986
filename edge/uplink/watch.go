package uplink

import (
	"context"
	"errors"
	"time"

	"nearside/edge/keeper"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/wire"
)

// watch keeps the stream open.
func (u *Uplink) watch(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		id, secret, ok := u.k.Registered()
		if !ok {
			sleep(ctx, unregistered, u.again)
			continue
		}
		came, err := u.stream(ctx, id, secret)
		u.stats.Connected.Store(false)
		if fatal(err) {
			return err
		}
		if came {
			failures = 0
		}
		failures++
		if ctx.Err() == nil && err != nil {
			u.cfg.Log.Info("the core's stream ended", "err", err)
		}
		sleep(ctx, backoff(u.cfg.Interval/4, u.cfg.Interval, failures), u.again)
	}
	return nil
}

// stream reads one stream until it ends; came says whether anything came.
func (u *Uplink) stream(ctx context.Context, id uint32, secret string) (came bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dead := time.AfterFunc(silence, func() { cancel(errors.New("nothing came for half a minute")) })
	defer dead.Stop()
	_, catalogVersion, controlVersion := u.k.Versions()
	stream, err := u.core().Watch(as(ctx, secret), &wire.WatchRequest{
		Protocol: exchange.Protocol, Holder: id, Catalog: catalogVersion, Control: controlVersion, Deltas: !u.whole,
	})
	if err != nil {
		return false, &lineError{err}
	}
	defer stream.Close()
	u.stats.Streams.Add(1)
	for stream.Receive() {
		came = true
		dead.Reset(silence)
		u.stats.Connected.Store(true)
		if err := u.take(stream.Msg()); err != nil {
			return came, err
		}
		if now, _, _ := u.k.Registered(); now != id {
			return came, nil // another holder by now
		}
	}
	err = stream.Err()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err == nil {
		err = errors.New("the core ended it")
	}
	return came, &lineError{err}
}

func (u *Uplink) take(event *wire.WatchEvent) error {
	if published := event.GetCatalog(); len(published) > 0 {
		u.whole = false
		if err := u.News(published); err != nil {
			return err
		}
	}
	if steps := event.GetDeltas(); len(steps) > 0 {
		if err := u.follow(steps); err != nil {
			return err
		}
	}
	return u.Controls(event.GetControls())
}

// Controls applies controls, from the core or from a peer.
func (u *Uplink) Controls(controls []*wire.Control) error {
	news, err := u.k.Control(controls)
	if len(news) > 0 {
		u.cfg.OnControls(news)
		nudge(u.wake) // the core waits for the receipt
	}
	if errors.Is(err, keeper.ErrFull) {
		return nil // the core says it again with every exchange until it is kept
	}
	return err
}

// errWhole ends a stream whose deltas do not lead on from here: the next one
// begins with a whole catalog.
var errWhole error = &lineError{errors.New("the catalog's deltas do not fit what is here")}

// follow applies deltas, each on what the one before made.
func (u *Uplink) follow(steps [][]byte) error {
	u.applying.Lock()
	defer u.applying.Unlock()
	s, published := u.snapshot, []byte(nil)
	for _, b := range steps {
		d, err := catalog.DecodeDelta(b)
		if err == nil && s != nil && d.Version <= s.Version {
			continue // a peer was faster
		}
		switch {
		case err != nil:
		case s == nil:
			err = errors.New("there is no catalog yet")
		default:
			s, published, err = d.Apply(s)
		}
		if err != nil {
			u.stats.BadNews.Add(1)
			u.whole = true
			u.cfg.Log.Warn("asking for the whole catalog", "err", err)
			return errWhole
		}
	}
	if published == nil {
		return nil
	}
	u.stats.Deltas.Add(1)
	return u.news(s, published)
}

// News applies a published catalog, from the core or from a peer, unless it is
// older than the one in force. One that cannot be read or applied is counted,
// and changes nothing.
func (u *Uplink) News(published []byte) error {
	s, err := catalog.Decode(published)
	if err != nil {
		u.stats.BadNews.Add(1)
		u.cfg.Log.Error("a catalog that cannot be read", "err", err)
		return nil
	}
	u.applying.Lock()
	defer u.applying.Unlock()
	return u.news(s, published)
}

// news applies a catalog that came from somewhere; applying is held.
func (u *Uplink) news(s *catalog.Snapshot, published []byte) error {
	if version, _ := u.k.Catalog(); s.Version <= version {
		return nil
	}
	if err := u.apply(s, published); err != nil {
		u.stats.BadNews.Add(1)
		return err
	}
	nudge(u.wake) // for leases of what is new, and the receipt
	if err := u.k.StoreCatalog(published); err != nil {
		// It is in force; a start without the core would serve an older one.
		u.cfg.Log.Error("the catalog could not be kept", "version", s.Version, "err", err)
	}
	return nil
}
