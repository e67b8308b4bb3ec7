-- expect: host-calls
return function()
  while true do
    pcall(print, 'flood')
  end
end
