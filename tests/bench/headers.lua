-- wrk: requests with a browser's ten headers, or those of a file, with a query of their own if
-- "unique" follows, or one of N keys in the query if a number N does; method, body size and connection handling come from the command line.  The last
-- line of output is JSON.
local path, method, size, close = "/small", "GET", 0, false
local requests, at = nil, 0
local unique, keys

function init(args)
   if args[5] then
      requests = {}
      for one in io.open(args[5], "rb"):read("*a"):gmatch("(.-\r\n\r\n)") do
         requests[#requests + 1] = one
      end
      -- a run takes a second at least, so no other one sends the same
      unique = args[6] == "unique" and "?n=" .. os.time() .. "-"
      keys = tonumber(args[6])
      math.randomseed(os.time())
      return
   end
   path, method, size, close = args[1], args[2], tonumber(args[3]), args[4] == "close"
   local headers = {
      ["Host"] = "www.example.com",
      ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
      ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
      ["Accept-Language"] = "en-US,en;q=0.5",
      ["Accept-Encoding"] = "gzip, deflate, br",
      ["Referer"] = "http://www.example.com/index.html",
      ["Cookie"] = "session=0123456789abcdef0123456789abcdef; theme=dark",
      ["Upgrade-Insecure-Requests"] = "1",
      ["Cache-Control"] = "max-age=0",
      ["Connection"] = close and "close" or "keep-alive",
   }
   local body = size > 0 and string.rep("x", size) or nil
   prepared = wrk.format(method, path, headers, body)
end

function request()
   if requests then
      at = at + 1
      local one = requests[(at - 1) % #requests + 1]
      if keys then
         return (one:gsub(" HTTP/", "?key=" .. math.random(keys) .. " HTTP/", 1))
      end
      return unique and one:gsub(" HTTP/", unique .. at .. " HTTP/", 1) or one
   end
   return prepared
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
      e.connect + e.read + e.write + e.status + e.timeout))
end
