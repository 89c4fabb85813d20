// Links and forms of a desk fetch the next page instead of loading it anew. What
// comes is shown if it is a page, whatever its status; anything else, such as the
// end of a session, is met as without scripts.
document.addEventListener("htmx:beforeSwap", function (e) {
  var reply = e.detail.xhr;
  if ((reply.getResponseHeader("Content-Type") || "").indexOf("text/html") === 0) {
    e.detail.shouldSwap = true;
    e.detail.isError = false;
    return;
  }
  e.detail.shouldSwap = false;
  location.assign(location.href);
});
document.addEventListener("htmx:sendError", function () {
  location.assign(location.href);
});
// Whoever reads or types with a screen reader or keyboard begins at the top of
// a new page; a part that is brought up to date takes nobody away from their work.
document.addEventListener("htmx:afterSettle", function (e) {
  if (!e.detail.boosted) return;
  var first = document.querySelector("[autofocus], .problem") || document.getElementById("main");
  if (first) first.focus();
});
// Times are told in the reader's zone and as their region writes them, which only the
// browser knows; what stood there, in UTC, is in the title.
function localTimes() {
  var page = document.documentElement.lang;
  var theirs = navigator.languages.find(function (l) { return l.split("-")[0] === page; });
  document.querySelectorAll("time[datetime]").forEach(function (e) {
    var at = new Date(e.getAttribute("datetime"));
    if (e.title || isNaN(at)) return;
    e.title = e.textContent;
    e.textContent = new Intl.DateTimeFormat(theirs || page, { dateStyle: "medium", timeStyle: "long" }).format(at);
  });
}
localTimes();
document.addEventListener("htmx:afterSettle", localTimes);
