package boltstore

// Commits counts what was committed since the file was made.
func (s *Store) Commits() int {
	tx, err := s.db.Begin(false)
	if err != nil {
		return -1
	}
	defer tx.Rollback()
	return tx.ID()
}

// Waiting is how many Updates nobody has taken.
func (s *Store) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Failed is what happens when a commit fails.
func (s *Store) Failed(err error) error { return s.failed(err) }
