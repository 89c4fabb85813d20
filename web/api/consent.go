package api

// A Recipient is a service or a target, and what it learns about the person.
type Recipient struct {
	To     string   `json:"to"` // "service:wiki", "target:crm"
	Title  string   `json:"title"`
	Values []Learnt `json:"values"`
}

// A Learnt is one attribute that a Recipient gets, or would get.
type Learnt struct {
	Attribute string   `json:"attribute"`
	Values    []string `json:"values"`
	Purpose   string   `json:"purpose,omitempty"`
	Basis     string   `json:"basis,omitempty"`
	// Said is what the person said, or was told: given, refused, told; empty:
	// nothing yet.
	Said string `json:"said,omitempty"`
}
