-- SPDX-License-Identifier: GPL-2.0-or-later
-- wrk's threads take the addresses of $TARGETS in turns; the result is one line of numbers.
local targets, at = {}, 0

function setup(thread)
    if #targets == 0 then
        for address in os.getenv("TARGETS"):gmatch("%S+") do targets[#targets + 1] = address end
    end
    at = at % #targets + 1
    thread.addr = wrk.lookup(targets[at], "80")[1]
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("\nRESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes,
        failed, latency:percentile(50), latency:percentile(99)))
end
