package keeper

import (
	"google.golang.org/protobuf/proto"

	"nearside/edge/holder"
)

// Queued is how many sealed batches wait for the core, how many of them are in
// memory whole, and what all of them take there as they would travel.
func (k *Keeper) Queued() (batches, whole, bytes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.book.st.Sealed() {
		batches++
		if !holder.Hollow(b) {
			whole++
		}
		bytes += proto.Size(b)
	}
	return batches, whole, bytes
}
