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
// browser knows; what stood there, in UTC, is in the title. A day is one in UTC, and
// the last that counts: it stays a day to whom all of it counts, and is its last
// moment to those west of there, for whom that comes sooner.
function localTimes() {
  var page = document.documentElement.lang;
  var theirs = navigator.languages.find(function (l) { return l.split("-")[0] === page; });
  document.querySelectorAll("time[datetime]").forEach(function (e) {
    var stamp = e.getAttribute("datetime"), day = stamp.indexOf("T") < 0;
    var at = new Date(day ? stamp + "T23:59:59Z" : stamp);
    if (e.title || isNaN(at)) return;
    e.title = e.textContent;
    var how = day && at.getTimezoneOffset() <= 0 ? { dateStyle: "medium", timeZone: "UTC" } : { dateStyle: "medium", timeStyle: "long" };
    e.textContent = new Intl.DateTimeFormat(theirs || page, how).format(at);
  });
}
localTimes();
document.addEventListener("htmx:afterSettle", localTimes);
