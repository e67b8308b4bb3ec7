-- expect: host-calls
return function()
  while true do
    print('flood')
  end
end
