-- Asks Gatehouse before a request goes on, with what HAProxy has built in:
--
--   http-request lua.gatehouse ADDRESS HEADERS
--   http-request deny deny_status 502 unless { var(txn.gatehouse) -m str yes }
--
-- ADDRESS is where it is asked, HEADERS are those that the service takes from the
-- answer. The second line is needed: an action that breaks lets requests pass.

-- What belongs to the request's own connection and body is no part of a question.
local own = { ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true, ["te"] = true,
              ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true }

-- An array that begins at 1, of one of HAProxy's, that begin at 0 or 1.
local function list(values)
    local all = {}
    for i = 0, 1000 do
        if values[i] ~= nil then
            all[#all + 1] = values[i]
        elseif i > 0 then
            return all
        end
    end
    return all
end

core.register_action("gatehouse", { "http-req" }, function(txn, question, taken)
    local asked = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if not own[name] then
            asked[name] = list(values)
        end
    end
    local answer = core.httpclient():get { url = question, headers = asked, timeout = 5000 }
    if answer == nil or answer.status == nil or answer.status < 200 then
        return -- nobody answered: nobody passes
    end
    if answer.status == 200 then
        for name in taken:gmatch("[^,]+") do
            txn.http:req_del_header(name)
            for _, value in ipairs(list(answer.headers[name] or {})) do
                txn.http:req_add_header(name, value)
            end
        end
        txn:set_var("txn.gatehouse", "yes")
        return
    end
    -- What the browser is to get instead.
    local headers = {}
    for name, values in pairs(answer.headers) do
        if not own[name] then
            headers[name] = list(values)
        end
    end
    txn:done(txn:reply { status = answer.status, reason = answer.reason, headers = headers, body = answer.body })
end, 2)
