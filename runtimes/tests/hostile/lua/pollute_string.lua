-- expect: thrown
return function()
  string.rep = nil
end
