package smtp

// Note makes a Memory know a server.
func (m *Memory) Note(host string) { m.of(Options{Host: host}).sendOneByOne() }

// Len returns how many servers a Memory knows.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.servers)
}
