"""Checks that a page is balanced and needs nothing else: check_page.py PAGE."""
import re
import sys
from html.parser import HTMLParser


class Checker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.heat = [], 0

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.heat += found.get("class") == "heat"
        for name in ("src", "href", "onload", "onclick"):
            assert name not in found, f"<{tag} {name}>"
        assert tag not in ("script", "link", "img", "iframe"), tag
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (self.open[-3:], tag)
        self.open.pop()


text = open(sys.argv[1], encoding="utf-8").read()
checker = Checker()
checker.feed(text)
assert not checker.open, checker.open
assert not re.search(r"url\(|@import|https?:", text)
assert not re.search(r"\b(nan|inf)\b", text)
print(f"balanced, fetches nothing, {checker.heat} heat maps")
