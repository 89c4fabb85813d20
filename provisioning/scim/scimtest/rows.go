package scimtest

import (
	"io"
	"net/http"
	"testing"
)

// Rows are all promises, in the order of the list that they come from.
var Rows = []Row{
	{"SC01_MediaTypes", SC01_MediaTypes}, {"SC02_Errors", SC02_Errors}, {"SC03_Location", SC03_Location}, {"SC04_Delete", SC04_Delete},
	{"SC05_MethodsAndRoutes", SC05_MethodsAndRoutes}, {"SC06_JSON", SC06_JSON}, {"SC07_SchemasMustBeNamed", SC07_SchemasMustBeNamed}, {"SC08_Addresses", SC08_Addresses},

	{"SC10_NullEmptyAndAbsent", SC10_NullEmptyAndAbsent}, {"SC11_ReadOnly", SC11_ReadOnly}, {"SC12_Projection", SC12_Projection}, {"SC13_CaseExact", SC13_CaseExact},
	{"SC14_OnePrimary", SC14_OnePrimary}, {"SC15_CanonicalValues", SC15_CanonicalValues}, {"SC16_ValuesAsSent", SC16_ValuesAsSent}, {"SC17_Meta", SC17_Meta},
	{"SC18_Members", SC18_Members}, {"SC19_Nesting", SC19_Nesting}, {"SC20_Manager", SC20_Manager}, {"SC21_Password", SC21_Password}, {"C03_ExternalIDIsNoID", C03_ExternalIDIsNoID},

	{"SC30_Operators", SC30_Operators}, {"SC31_Paths", SC31_Paths}, {"SC33_UnknownAttribute", SC33_UnknownAttribute}, {"SC34_AnyElement", SC34_AnyElement},
	{"SC35_FiltersAreBounded", SC35_FiltersAreBounded}, {"SC36_Search", SC36_Search}, {"SC37_Paging", SC37_Paging}, {"SC38_WalksLoseNobody", SC38_WalksLoseNobody},
	{"SC38_WalksAtTheSameTime", SC38_WalksAtTheSameTime}, {"SC39_Cursors", SC39_Cursors}, {"SC40_Sort", SC40_Sort},

	{"SC50_Put", SC50_Put}, {"SC51_PatchIsAtomic", SC51_PatchIsAtomic}, {"SC52_Add", SC52_Add}, {"SC53_Replace", SC53_Replace}, {"SC54_Remove", SC54_Remove},
	{"SC55_Operations", SC55_Operations}, {"SC56_AnswerToPatch", SC56_AnswerToPatch}, {"SC57_Conditions", SC57_Conditions},
	{"SC58_AdditionsAtTheSameTime", SC58_AdditionsAtTheSameTime}, {"C04_CreationsAtTheSameTime", C04_CreationsAtTheSameTime},

	{"SC60_BulkReferences", SC60_BulkReferences}, {"SC60_BulkOperations", SC60_BulkOperations}, {"SC60_BulkFailOnErrors", SC60_BulkFailOnErrors}, {"C16_BulkIsBounded", C16_BulkIsBounded},
	{"SC61_Me", SC61_Me}, {"SC62_Discovery", SC62_Discovery}, {"SC63_AdvertisedIsTrue", SC63_AdvertisedIsTrue}, {"SC64_Asynchronous", SC64_Asynchronous},
}

func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
