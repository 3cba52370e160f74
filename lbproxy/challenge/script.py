"""PURE. The program of the challenge page.

It contains its own SHA-256 (FIPS 180-4), because ``crypto.subtle`` exists only on https pages, and
calling it for each number is slower. A token and an answer fit one block. The work is done in
slices of 25 ms, so that the page stays responsive. It stops after three passes in a row that the
browser did not send back at once; expired passes do not count.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SCRIPT"]

SCRIPT: Final = r"""
(function () {
  "use strict";
  var meta = document.querySelector('meta[name="lbproxy-challenge"]');
  var words = meta.getAttribute("content").split(" ");
  var token = words[0], bits = Number(words[1]), path = words[2];
  var line = document.getElementById("status");
  var TRIES = "lbproxy-challenge";

  function say(text) { line.textContent = text; }

  // The constants of SHA-256: fractions of the roots of the first primes.
  var K = [], H = [];
  for (var prime = 2; K.length < 64; prime++) {
    var divisor = 2;
    while (prime % divisor) divisor++;
    if (divisor < prime) continue;
    if (H.length < 8) H.push((Math.pow(prime, 1 / 2) * 4294967296) | 0);
    K.push((Math.pow(prime, 1 / 3) * 4294967296) | 0);
  }

  var begin = new Int32Array(16), w = new Int32Array(64);
  function put(block, at, code) { block[at >> 2] |= code << (24 - (at & 3) * 8); }
  for (var i = 0; i < token.length; i++) put(begin, i, token.charCodeAt(i));

  // The first word of sha256(token + number).
  function digest(number) {
    var digits = String(number), length = token.length + digits.length, i;
    w.set(begin);
    for (i = 0; i < digits.length; i++) put(w, token.length + i, digits.charCodeAt(i));
    put(w, length, 128);
    w[15] = length * 8;
    for (i = 16; i < 64; i++) {
      var x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] +
        ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) +
        ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0;
    }
    var a = H[0], b = H[1], c = H[2], d = H[3], e = H[4], f = H[5], g = H[6], h = H[7];
    for (i = 0; i < 64; i++) {
      var s = h + K[i] + w[i] + (e & f ^ ~e & g) +
        ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) | 0;
      var t = (a & b ^ a & c ^ b & c) +
        ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) | 0;
      h = g; g = f; f = e; e = d + s | 0; d = c; c = b; b = a; a = s + t | 0;
    }
    return a + H[0] | 0;
  }

  // How many passes in a row were lost: this page came instead of the one that was loaded with it.
  function lost() {
    try {
      var kept = sessionStorage.getItem(TRIES).split(" ");
      return Date.now() - kept[1] < 20000 ? Number(kept[0]) || 0 : 0;
    } catch (error) { return 0; }
  }

  function note(count) {
    try {
      sessionStorage.setItem(TRIES, count + " " + Date.now());
    } catch (error) { /* nothing is kept */ }
  }

  function again() { setTimeout(function () { location.reload(); }, 3000 + 4000 * Math.random()); }

  function send(answer) {
    var request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
    request.onload = function () {
      if (request.status === 204) {
        note(before + 1);
        say("Done. The page is loading.");
        location.reload();
      } else {
        say("The check has to be repeated.");
        again();
      }
    };
    request.onerror = function () { say("The site cannot be reached. Trying again."); again(); };
    request.send("token=" + encodeURIComponent(token) + "&answer=" + answer);
  }

  var number = 0;
  function work() {
    var end = Date.now() + 25;
    do {
      for (var i = 0; i < 400; i++, number++) {
        if (digest(number) >>> (32 - bits) === 0) { send(number); return; }
      }
    } while (Date.now() < end);
    later();
  }
  var channel = window.MessageChannel ? new MessageChannel() : null;
  if (channel) channel.port1.onmessage = work;
  function later() { if (channel) channel.port2.postMessage(0); else setTimeout(work, 0); }

  var before = lost();
  if (navigator.cookieEnabled === false || before >= 3) {
    note(0);
    say("Your browser does not keep the cookie of this check. " +
        "Allow cookies for this site, then load the page again.");
    return;
  }
  say("Checking your browser. This takes a few seconds.");
  later();
})();
"""
"""A script that needs no module and no feature introduced after 2015."""
