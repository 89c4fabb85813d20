package expr

import "sync"

// Programs compile expressions, and remember those that they compiled: the same few
// are compiled again whenever anything of a policy changes. The zero Programs
// remember nothing yet; nil ones never do. They may be used by many goroutines.
type Programs struct {
	mu   sync.Mutex
	made map[expression]*Program
}

type expression struct {
	kind   Kind
	source string
}

// maxPrograms bounds what is remembered; then all is forgotten, and made again.
const maxPrograms = 10_000

// Compile is Compile. What has a mistake is not remembered.
func (p *Programs) Compile(k Kind, src string) (*Program, error) {
	if p == nil {
		return Compile(k, src)
	}
	p.mu.Lock()
	made := p.made[expression{k, src}]
	p.mu.Unlock()
	if made != nil {
		return made, nil
	}
	made, err := Compile(k, src)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil || len(p.made) >= maxPrograms {
		p.made = map[expression]*Program{}
	}
	p.made[expression{k, src}] = made
	return made, nil
}
