package decision

// Clean reports whether nothing of the last request is left in what the next
// one expects to be zero.
func (s *Scratch) Clean() bool {
	for _, w := range s.reached {
		if w != 0 {
			return false
		}
	}
	for _, w := range s.words {
		if w != 0 {
			return false
		}
	}
	return true
}
