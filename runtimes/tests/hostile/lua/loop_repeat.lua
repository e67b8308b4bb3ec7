-- expect: timeout
return function()
  repeat until false
end
