// Sends the one form of the page, so that nobody needs to press its button.
document.forms[0].submit();
