package versions

// A Bundle is a set of attributes that federations have a name for.
type Bundle struct {
	ID, Title string
	URL       string // of its specification
	// Attributes of ours; nil: those that the service says it requires.
	Attributes []string
}

// Bundles are those of REFEDS: the entity categories Anonymous, Pseudonymous and
// Personalized Access, Research and Scholarship (section 5), and what the Data
// Protection Code of Conduct 2.0 allows: what the service needs, and no more.
// They go by our names: schacHomeOrganization is home_organization,
// eduPersonScopedAffiliation scoped_affiliation, eduPersonAssurance assurance,
// samlPairwiseID pairwise_id, samlSubjectID subject_id, eduPersonPrincipalName eppn.
func Bundles() []Bundle {
	return []Bundle{
		{"anonymous", "Anonymous Access", "https://refeds.org/category/anonymous", []string{"home_organization", "scoped_affiliation"}},
		{"pseudonymous", "Pseudonymous Access", "https://refeds.org/category/pseudonymous", []string{"pairwise_id", "home_organization", "scoped_affiliation", "assurance"}},
		{"personalized", "Personalized Access", "https://refeds.org/category/personalized", []string{
			"subject_id", "display_name", "given_name", "family_name", "mail", "home_organization", "scoped_affiliation", "assurance",
		}},
		{"r-and-s", "Research and Scholarship", "https://refeds.org/category/research-and-scholarship", []string{
			"eppn", "display_name", "given_name", "family_name", "mail", "scoped_affiliation",
		}},
		{"coco-2", "Data Protection Code of Conduct 2.0", "https://refeds.org/category/code-of-conduct/v2", nil},
	}
}
