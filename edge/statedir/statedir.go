// Package statedir is the directory in which an edge keeps what it must know
// when it starts before the core can be reached: who it is, the token keys, the
// newest catalog, and what it last heard. The journals of its holders lie in it
// too.
//
// # Files
//
//	lock           held while a process uses the directory
//	identity.json  Identity
//	keys.json      Keys
//	catalog.bin    the published bytes of sync/catalog, as they came
//	heard.json     Heard
//	certificate.json  Certificate
//	journal-N      the journal of the holder of generation N (edge/journal)
//
// The JSON files carry their format, 1, and the SHA-256 of their content, as
// {"format": 1, "sum": "hex", "content": …}. Every file is written to a .tmp file, synced and renamed, and is
// readable by its owner alone: three of them hold secrets.
//
// # When things fail
//
// Where the disk has no room the file stays as it was, and the error is
// journal.ErrFull.
//
// A file that is not what was written is an error that names it, and the
// edge does not start: an identity is never guessed. An absent file is as if
// nothing was known. A catalog is checked by who decodes it.
package statedir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"nearside/edge/journal"
	"nearside/sync/token"
)

const format = 1

// Limits of what is read.
const (
	maxJSON    = 16 << 20
	maxCatalog = 256 << 20
)

// ErrInUse says that another process holds the directory.
var ErrInUse = errors.New("the state directory is in use by another process")

// Identity is which holder this directory is.
type Identity struct {
	Disk       string   `json:"disk"`       // random id, 32 hex digits; a new one after a fence
	Generation uint64   `json:"generation"` // numbers the journals of this directory from 1 on
	Holder     uint32   `json:"holder"`     // 0: not registered yet
	Secret     string   `json:"secret"`     // the holder's credential
	Former     []Former `json:"former,omitempty"`
}

// Former is a fenced holder of this directory whose journal is still to be
// handed in.
type Former struct {
	Generation uint64 `json:"generation"`
	Holder     uint32 `json:"holder"`
	Secret     string `json:"secret"`
}

// Certificate is what this node shows other machines.
type Certificate struct {
	Key         string   `json:"key"`         // PEM, the private one
	Chain       [][]byte `json:"chain"`       // DER, the node's own first
	Authorities string   `json:"authorities"` // PEM, as the core said them with the certificate
	Beside      string   `json:"beside"`      // SHA-256, hex, of the operator's ca.pem at that time
}

// Heard is what the core last said, for a start without it.
type Heard struct {
	At        int64            `json:"at"` // unix milliseconds
	Delivered map[int64]Amount `json:"delivered,omitempty"`
	Stamp     *Stamp           `json:"stamp,omitempty"`
}

// Stamp is the newest wire.Stamp that a holder was given.
type Stamp struct {
	Holder uint32 `json:"holder"`
	At     int64  `json:"at"` // unix milliseconds of the core's clock
	MAC    []byte `json:"mac"`
}

// Amount is what is known of a budget of all holders together.
type Amount struct {
	Settled  int64 `json:"settled"`
	Limit    int64 `json:"limit"`
	Unleased int64 `json:"unleased"`
	Velocity int64 `json:"velocity_milli"`
	Here     int64 `json:"here"` // spent by this holder, as the core had settled it
	Refunded int64 `json:"refunded,omitempty"`
}

// Key is a token key as it is kept.
type Key struct {
	ID          uint16 `json:"id"`
	Secret      string `json:"secret"` // hex
	SealFrom    int64  `json:"seal_from"`
	SealUntil   int64  `json:"seal_until"`
	VerifyUntil int64  `json:"verify_until"`
}

// Dir is an open state directory. Its files are written by one goroutine at a
// time.
type Dir struct {
	fs   journal.FS
	path string
	lock io.Closer
}

// Open takes the directory, making it if it is not there.
func Open(fsys journal.FS, path string) (*Dir, error) {
	if err := fsys.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := fsys.Lock(filepath.Join(path, "lock"))
	if errors.Is(err, journal.ErrLocked) {
		return nil, fmt.Errorf("%s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	return &Dir{fs: fsys, path: path, lock: lock}, nil
}

// Close lets go of the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// FS is the file system that the directory lies in.
func (d *Dir) FS() journal.FS { return d.fs }

// Journal is the path of a generation's journal.
func (d *Dir) Journal(generation uint64) string {
	return filepath.Join(d.path, fmt.Sprintf("journal-%d", generation))
}

// RemoveJournal deletes the journal of a generation that is not needed any
// more.
func (d *Dir) RemoveJournal(generation uint64) error {
	dir := d.Journal(generation)
	names, err := d.fs.Names(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove journal %d: %w", generation, err)
	}
	for _, name := range names {
		if err := d.fs.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove journal %d: %w", generation, err)
		}
	}
	if err := d.fs.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove journal %d: %w", generation, err)
	}
	return nil
}

// Identity reads who this directory is; ok is false for a new one.
func (d *Dir) Identity() (id Identity, ok bool, err error) {
	ok, err = d.load("identity.json", &id)
	if ok && (len(id.Disk) != 32 || id.Generation == 0) {
		return Identity{}, false, fmt.Errorf("%s: no disk or generation", filepath.Join(d.path, "identity.json"))
	}
	return id, ok, err
}

// SaveIdentity makes id durable.
func (d *Dir) SaveIdentity(id Identity) error { return d.save("identity.json", id) }

// Keys reads the token keys.
func (d *Dir) Keys() ([]token.Key, error) {
	var kept []Key
	if _, err := d.load("keys.json", &kept); err != nil {
		return nil, err
	}
	keys := make([]token.Key, len(kept))
	for i, k := range kept {
		keys[i] = token.Key{ID: k.ID, SealFrom: k.SealFrom, SealUntil: k.SealUntil, VerifyUntil: k.VerifyUntil}
		secret, err := hex.DecodeString(k.Secret)
		if err != nil || len(secret) != len(keys[i].Secret) {
			return nil, fmt.Errorf("%s: key %d: secret is not %d bytes in hex", filepath.Join(d.path, "keys.json"), k.ID, len(keys[i].Secret))
		}
		copy(keys[i].Secret[:], secret)
	}
	return keys, nil
}

// SaveKeys makes the token keys durable.
func (d *Dir) SaveKeys(keys []token.Key) error {
	kept := make([]Key, len(keys))
	for i, k := range keys {
		kept[i] = Key{k.ID, hex.EncodeToString(k.Secret[:]), k.SealFrom, k.SealUntil, k.VerifyUntil}
	}
	return d.save("keys.json", kept)
}

// Heard reads what the core last said.
func (d *Dir) Heard() (h Heard, err error) {
	_, err = d.load("heard.json", &h)
	return h, err
}

// SaveHeard makes h durable.
func (d *Dir) SaveHeard(h Heard) error { return d.save("heard.json", h) }

// Certificate reads what this node shows others; an empty one where there is none.
func (d *Dir) Certificate() (c Certificate, err error) {
	_, err = d.load("certificate.json", &c)
	return c, err
}

// SaveCertificate makes c durable.
func (d *Dir) SaveCertificate(c Certificate) error { return d.save("certificate.json", c) }

// Catalog reads the newest catalog's published bytes, nil if there is none.
func (d *Dir) Catalog() ([]byte, error) {
	b, err := d.read("catalog.bin", maxCatalog)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// SaveCatalog makes a catalog's published bytes durable.
func (d *Dir) SaveCatalog(published []byte) error { return d.write("catalog.bin", published) }

type sealed struct {
	Format  int             `json:"format"`
	Sum     string          `json:"sum"`
	Content json.RawMessage `json:"content"`
}

func (d *Dir) load(name string, into any) (bool, error) {
	b, err := d.read(name, maxJSON)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := unseal(b, into); err != nil {
		return false, fmt.Errorf("%s: %w", filepath.Join(d.path, name), err)
	}
	return true, nil
}

func unseal(b []byte, into any) error {
	var s sealed
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	if s.Format != format {
		return fmt.Errorf("format %d, expected %d", s.Format, format)
	}
	if sum := sha256.Sum256(s.Content); hex.EncodeToString(sum[:]) != s.Sum {
		return errors.New("damaged: its checksum differs")
	}
	if err := json.Unmarshal(s.Content, into); err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	return nil
}

func (d *Dir) save(name string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	sum := sha256.Sum256(raw)
	// Not json.Marshal of the whole: it would be free to change the content.
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"format\":%d,\"sum\":\"%x\",\"content\":%s}\n", format, sum, raw)
	return d.write(name, b.Bytes())
}

func (d *Dir) read(name string, limit int64) ([]byte, error) {
	f, err := d.fs.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if n > limit {
		return nil, fmt.Errorf("read %s: %d bytes, expected at most %d", name, n, limit)
	}
	b := make([]byte, n)
	if got, err := f.ReadAt(b, 0); int64(got) != n && err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

func (d *Dir) write(name string, b []byte) (err error) {
	path := filepath.Join(d.path, name)
	f, err := d.fs.Create(path + ".tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.fs.Rename(path+".tmp", path)
	}
	if err == nil {
		err = d.fs.SyncDir(d.path)
	}
	if journal.Full(err) {
		err = errors.Join(fmt.Errorf("%w: %w", journal.ErrFull, err), d.fs.Remove(path+".tmp"))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
