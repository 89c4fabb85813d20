package metrics

// Names of metrics. Units are seconds and bytes.
const (
	RequestSeconds     = "http_server_request_duration_seconds"
	BuildInfo          = "gatehouse_build_info"
	SignIns            = "gatehouse_sign_ins_total"
	SignInSeconds      = "gatehouse_sign_in_duration_seconds"
	Sessions           = "gatehouse_sessions_active"
	Decisions          = "gatehouse_authz_decisions_total"
	QuestionDecisions  = "gatehouse_authzen_decisions_total"
	DecisionSeconds    = "gatehouse_authz_decision_duration_seconds"
	Released           = "gatehouse_attributes_released_total"
	RateLimited        = "gatehouse_rate_limited_total"
	SCIMSeconds        = "gatehouse_scim_request_duration_seconds"
	Tasks              = "gatehouse_tasks_total"
	TaskSeconds        = "gatehouse_task_duration_seconds"
	TasksPending       = "gatehouse_tasks_pending"
	TaskOldest         = "gatehouse_task_oldest_age_seconds"
	TasksDead          = "gatehouse_tasks_dead"
	TargetState        = "gatehouse_target_state"
	UpstreamState      = "gatehouse_upstream_state"
	ReconcileSuccess   = "gatehouse_reconcile_last_success_timestamp_seconds"
	ReconcileDrift     = "gatehouse_reconcile_drift_objects"
	MetadataSuccess    = "gatehouse_metadata_last_success_timestamp_seconds"
	MetadataUntil      = "gatehouse_metadata_valid_until_timestamp_seconds"
	CertificateUntil   = "gatehouse_certificate_not_after_timestamp_seconds"
	ConfigGood         = "gatehouse_config_last_reload_successful"
	ConfigTaken        = "gatehouse_config_last_reload_success_timestamp_seconds"
	StoreSize          = "gatehouse_store_size_bytes"
	StoreFree          = "gatehouse_store_free_bytes"
	TransactionSeconds = "gatehouse_store_txn_duration_seconds"
	AuditFailures      = "gatehouse_audit_write_failures_total"
)

// A Kind of metric, in Prometheus's words.
type Kind string

// Kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// A Description is everything that is to be known about a metric.
type Description struct {
	Name    string
	Kind    Kind
	Labels  []string
	Help    string
	Buckets []float64 // upper bounds of a Histogram, in seconds
}

// Upper bounds, in seconds: those of OpenTelemetry for whole requests, and finer
// ones for what happens inside.
var (
	wide = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	fine = []float64{.000001, .000005, .00001, .00005, .0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5}
	long = []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300}
)

// All are the metrics of Gatehouse; those of the Go runtime and the process come
// beside them.
var All = []Description{
	{RequestSeconds, Histogram, []string{"http_request_method", "http_response_status_code", "http_route"}, "Requests of people and programs, until the end of the answer. http_route is the ID of the service, or gatehouse for what the gateway answers itself; 499 is a client that left before an answer.", wide},
	{BuildInfo, Gauge, []string{"version", "revision", "goversion"}, "Always 1; says what is running.", nil},
	{SignIns, Counter, []string{"protocol", "provider", "outcome", "reason"}, "Answers of identity providers: done, or refused with a reason code.", nil},
	{SignInSeconds, Histogram, []string{"protocol", "provider"}, "How long the gateway worked on an identity provider's answer, what it asked the provider included.", wide},
	{Sessions, Gauge, nil, "Sessions that have not ended.", nil},
	{Decisions, Counter, []string{"service", "decision", "rule"}, "Decisions about requests, by the rule that made them; an empty rule is no rule.", nil},
	{QuestionDecisions, Counter, []string{"service", "decision", "rule"}, "Decisions that a service asked for over AuthZEN, by the rule that made them; an empty rule is no rule.", nil},
	{DecisionSeconds, Histogram, nil, "How long the rules took where no decision was remembered.", fine},
	{Released, Counter, []string{"service", "attribute"}, "Attributes that a service was told, counted once for each session.", nil},
	{RateLimited, Counter, []string{"by"}, "Requests before a session that were refused because one address, or one person, sent too many.", nil},
	{SCIMSeconds, Histogram, []string{"method", "resource", "code"}, "Requests of clients that provision users into the gateway.", wide},
	{Tasks, Counter, []string{"target", "operation", "outcome"}, "Attempts to bring an account at a target in step: what was done, and done or the class of the error.", nil},
	{TaskSeconds, Histogram, []string{"target", "operation"}, "How long such an attempt took.", long},
	{TasksPending, Gauge, []string{"target"}, "Accounts that wait to be brought in step.", nil},
	{TaskOldest, Gauge, []string{"target"}, "How long ago the one that has waited longest was added.", nil},
	{TasksDead, Gauge, []string{"target"}, "Accounts that wait for a person: refused for good, or given up after three days.", nil},
	{TargetState, Gauge, []string{"target", "state"}, "1 for the state that a target is in: working, waiting, quarantine or paused.", nil},
	{UpstreamState, Gauge, []string{"service", "upstream", "state"}, "1 for the state that an upstream of a service is in: well, ejected because requests failed, or down by its checks.", nil},
	{ReconcileSuccess, Gauge, []string{"target"}, "When a target was last compared with the directory to the end.", nil},
	{ReconcileDrift, Gauge, []string{"target", "kind"}, "Accounts that the last comparison found in a situation other than linked and in step.", nil},
	{MetadataSuccess, Gauge, []string{"source"}, "When the metadata of an identity provider was last read.", nil},
	{MetadataUntil, Gauge, []string{"source"}, "Until when that metadata may be used; not there if it does not say.", nil},
	{CertificateUntil, Gauge, []string{"use"}, "When a certificate of the gateway ends: tls for the one in a file, tls: and the host for one by ACME (0: there is none), or saml: and the identity provider.", nil},
	{ConfigGood, Gauge, nil, "1 if the configuration was last taken, 0 if it was refused and the one before is in force.", nil},
	{ConfigTaken, Gauge, nil, "When a configuration was last taken.", nil},
	{StoreSize, Gauge, nil, "Size of the store's file.", nil},
	{StoreFree, Gauge, nil, "Room left on the store's file system.", nil},
	{TransactionSeconds, Histogram, []string{"op"}, "Transactions of the store: view or update; an update includes the disk.", fine},
	{AuditFailures, Counter, nil, "Audit events of refusals that could not be written.", nil},
}
