// Package scim is SCIM 2.0 (RFC 7643, RFC 7644) as values and pure functions:
// no network, no clock, no store, and nothing of the product around it.
//
// Everything that goes over the wire is JSON, and JSON is read in one place,
// [Decode], which refuses what two readers could read in two ways. What it
// yields is an [Object]: ordered members whose names are found in any case.
// A [ResourceType] knows the attributes of its [Schema]s and gives an Object
// its meaning:
//
//	bytes ──Decode──▶ Object ──ResourceType.New─────▶ Resource   (POST)
//	                    │      ResourceType.Replace─▶ Resource   (PUT)
//	                    └─ParsePatch─▶ Patch
//	                           ResourceType.Patch───▶ Resource   (PATCH)
//	text  ──ParseFilter──▶ Filter ──ResourceType.Filter──▶ Match(Resource)
//	Resource ──ResourceType.Project──▶ Resource ──MarshalJSON──▶ bytes
//
// A function that changes a resource returns another one and leaves the one it
// was given alone, so that a change happens as a whole or not at all. Every
// error of this package is an [*Error] and can be sent as the answer.
//
// The engine keeps to the RFC. What some clients send instead is to be turned
// into what the RFC says before it comes here.
package scim

// Schemas of messages and resources.
const (
	UserURN           = "urn:ietf:params:scim:schemas:core:2.0:User"
	EnterpriseUserURN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	GroupURN          = "urn:ietf:params:scim:schemas:core:2.0:Group"

	SchemaURN       = "urn:ietf:params:scim:schemas:core:2.0:Schema"
	ResourceTypeURN = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	ConfigURN       = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"

	ListURN  = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	PatchURN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	ErrorURN = "urn:ietf:params:scim:api:messages:2.0:Error"

	SearchURN       = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
	BulkRequestURN  = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	BulkResponseURN = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
)

// MediaType is what every message is sent as (RFC 7644 section 3.1).
const MediaType = "application/scim+json"

// Limits. What exceeds one is refused with an Error that says so.
const (
	MaxBody        = 1 << 20 // bytes of a message
	MaxDepth       = 32      // objects and arrays inside each other
	MaxFilter      = 1024    // bytes of a filter or a path
	MaxFilterDepth = 10      // parentheses and brackets inside each other
	MaxOperations  = 1000    // operations of one PATCH
	MaxValues      = 10_000  // values of one attribute in one message
	MaxPatchWork   = 500_000 // values that the operations of one PATCH look at, all together
)
